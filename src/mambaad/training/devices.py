"""The devices of a training: Lightning Fabric, one process or several, and what signals do."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any, Literal, Protocol

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from mambaad.errors import ConfigError, MambaADError, RunError
from mambaad.models.system import System
from mambaad.process import on_signals


class Work(Protocol):
    """The work of one process: True at its end, False if it was interrupted and has saved."""

    def __call__(  # noqa: D102 (see the class)
        self, fabric: Fabric, model: System, *, when_ready: Callable[[], None]
    ) -> bool: ...


def make_fabric(devices: int, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Make Lightning Fabric for a number of devices and a precision.

    Raises:
        ConfigError: this machine has not as many, or not that precision.
    """
    strategy = DDPStrategy(start_method="spawn") if devices > 1 else "auto"
    try:
        return Fabric(devices=devices, strategy=strategy, precision=precision)
    except Exception as error:  # Fabric's own kinds, none of them public
        reason = " ".join(str(error).split())
        raise ConfigError(f"--devices {devices}, --precision: {reason}") from error


def run_on_devices(fabric: Fabric, model: System, devices: int, work: Work) -> bool:
    """Run ``work`` here, or in one process for each device; True if it came to its end.

    Ctrl-C and SIGTERM reach every process, which stop at the same step. ``work`` calls
    ``when_ready`` as soon as it reacts to them; before that, they end everything at once.

    Raises:
        MambaADError: from one of the processes.
        RunError: a process ended without saying why.
    """
    if devices == 1:
        return work(fabric, model, when_ready=lambda: None)
    context = multiprocessing.get_context("spawn")
    ready, problems = context.Semaphore(0), context.SimpleQueue()
    # Fabric gives each process its own copy of a model among the plain arguments, which would
    # else be one in shared memory; but it refuses our frozen records there.
    in_process: Any = functools.partial(_in_process, work=work, ready=ready, problems=problems)

    def pass_on() -> None:
        # The children stop at the same step and save, and this process waits for them. Until all
        # of them can, there is nothing to save.
        if not all(ready.acquire(block=False) for _ in range(devices)):
            raise KeyboardInterrupt
        for child in multiprocessing.active_children():
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    with on_signals(pass_on):
        try:
            return bool(fabric.launch(in_process, model))
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.kill()
            return False
        except ProcessException as error:
            if not problems.empty():
                raise problems.get() from None
            last = str(error).strip().splitlines()[-1]
            raise RunError(f"a training process ended early: {last}") from error


def _in_process(fabric: Fabric, model: System, *, work: Work, ready: Any, problems: Any) -> bool:
    """Run ``work`` in one of several processes, and report an error to the first."""
    try:
        return work(fabric, model, when_ready=ready.release)
    except MambaADError as error:
        problems.put(error)
        raise
