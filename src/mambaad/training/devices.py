"""The devices of a training: Lightning Fabric, one process or several, and what signals do."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Literal, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import (
    LightningEnvironment,
    find_free_network_port,
)

from mambaad.config import TrainConfig
from mambaad.errors import ConfigError, MambaADError, RunError
from mambaad.inference.device import first_line, is_lost, memory_of
from mambaad.launch import Launch
from mambaad.models.system import System
from mambaad.process import end_with_parent, is_out_of_memory, on_signals, process_context
from mambaad.training.together import strategy_and_place

Precision = Literal["32-true", "bf16-mixed"]


class Work(Protocol):
    """The work of one process: True at its end, False if it was interrupted and has saved."""

    def __call__(  # noqa: D102 (see the class)
        self, fabric: Fabric, model: System, *, when_ready: Callable[[], None]
    ) -> bool: ...


def make_fabric(
    devices: int, precision: Precision, device: torch.device, launch: Launch | None = None
) -> Fabric:
    """Make Lightning Fabric for a number of devices and a precision.

    Args:
        devices: their number.
        precision: of the arithmetic.
        device: the one, or of several any: its type is what counts.
        launch: this process's place, if a launcher has started all of them.

    Raises:
        ConfigError: this machine has not as many, or not that precision.
    """
    place: dict[str, Any]
    if launch:
        place = strategy_and_place(launch)
    elif devices > 1:
        place = {"strategy": "ddp", "devices": devices, "plugins": [LightningEnvironment()]}
    else:
        place = {"devices": [device.index or 0] if device.type == "cuda" else 1}
    try:
        return Fabric(accelerator=device.type, precision=precision, **place)
    except Exception as error:  # Fabric's own kinds, none of them public
        reason = " ".join(str(error).split())
        raise ConfigError(f"--devices {devices}, --precision: {reason}") from error


def run_on_devices(
    fabric: Fabric,
    model: System,
    devices: int,
    precision: Precision,
    work: Work,
    launch: Launch | None = None,
) -> bool:
    """Run ``work`` here, or in one process for each device; True if it came to its end.

    Where a launcher has started one process for each device, every one of them calls this.

    Ctrl-C and SIGTERM reach every process, which stop at the same step. ``work`` calls
    ``when_ready`` as soon as it reacts to them; before that, they end everything at once.

    Args:
        fabric: of one device; each of several processes makes its own.
        model: trained itself on one device; each of several processes trains a copy.
        devices: their number.
        precision: of the arithmetic.
        work: can be pickled if there are several devices.
        launch: this process's place, if a launcher has started all of them.

    Raises:
        MambaADError: from one of the processes.
        RunError: a process ended without saying why.
    """
    if launch:
        fabric.launch()
    if devices == 1 or launch:
        return work(fabric, model, when_ready=lambda: None)
    context = process_context("mambaad.models.build", "mambaad.training.loop")
    ready, results = context.Semaphore(0), context.SimpleQueue()
    # As bytes: PyTorch would share the memory of tensors among the processes.
    content = pickle.dumps((model, work))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    children = [
        context.Process(
            target=_run_in_process,
            args=({**address, "LOCAL_RANK": str(rank)}, devices, precision, fabric.device, content),
            kwargs={"ready": ready, "results": results},
        )
        for rank in range(devices)
    ]

    def pass_on() -> None:
        # The children stop at the same step and save, and this process waits for them. Until all
        # of them can, there is nothing to save.
        if not all(ready.acquire(block=False) for _ in range(devices)):
            raise KeyboardInterrupt
        for child in children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    with on_signals(pass_on):
        try:
            for child in children:
                child.start()
            _wait_for_all(children)
        except KeyboardInterrupt:
            return False
        finally:
            for child in children:
                if child.pid:
                    child.kill()  # nothing to those that have ended
                    child.join()
    found = []
    while not results.empty():
        found.append(results.get())
    for result in found:
        if isinstance(result, MambaADError):
            raise result
    if len(found) < devices:
        codes = ", ".join(str(child.exitcode) for child in children)
        raise RunError(f"a training process ended early (exit codes {codes}); see its message")
    return all(found)


@contextmanager
def one_line_errors(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Say in one line, as a RunError, that memory is too small or that the GPU failed."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            size = "x".join(map(str, config.size))
            raise RunError(
                f"{memory_of(device)} is too small for this training; lower --batch-size "
                f"({config.batch_size}) or --size ({size}), or give --precision bf16-mixed, "
                "--cache-features off, or another --device"
            ) from error
        if is_lost(error):
            raise RunError(
                f"the GPU failed ({first_line(error)}); continue from the last epoch with "
                "--resume, elsewhere with --device cpu"
            ) from error
        raise


def _wait_for_all(children: list[Any]) -> None:
    """Wait until all processes have ended, or one has failed: the others would wait for it."""
    running = {child.sentinel: child for child in children}
    while running:
        for sentinel in wait(list(running)):
            child = running.pop(sentinel)
            child.join()
            if child.exitcode:
                return


def _run_in_process(
    environment: dict[str, str],
    devices: int,
    precision: Precision,
    device: torch.device,
    content: bytes,
    *,
    ready: Any,
    results: Any,
) -> None:
    """Run the work in one of several processes, and report its result or error to the first."""
    end_with_parent()
    os.environ.update(environment)  # which tell Fabric that this is one of several
    model, work = pickle.loads(content)
    try:
        fabric = make_fabric(devices, precision, device)
        fabric.launch()
        results.put(work(fabric, model, when_ready=ready.release))
    except MambaADError as error:
        results.put(error)
        raise SystemExit(1) from error
