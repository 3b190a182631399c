"""Training by processes that a launcher has started, such as torchrun, on one machine or several.

The first of them reads the data set, writes the run and says how work goes on; the others get the
settings and the images' names from it, and compute their share of every step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from mambaad.config import TrainConfig
from mambaad.errors import DataError, RunError
from mambaad.inference.device import first_line
from mambaad.launch import Launch
from mambaad.models.parallel import alone
from mambaad.process import limit_threads
from mambaad.training.link import JOIN_S, Link, accept, connect, listen
from mambaad.types import Sample

_LONG = timedelta(days=1)
"""The collectives' patience: a process may be slow, and one that is gone is seen by the link."""
_SEEN_S = 45.0
"""Seconds until the link must have seen why a collective failed."""
_FROM_COLLECTIVES = ("gloo", "nccl", "connection", "process group", "socket", "peer")
_calls = 0


class Plan(NamedTuple):
    """What every process needs to train: settings, images, and their files' sizes in bytes.

    ``sizes``: empty if all processes are on one machine.
    """

    config: TrainConfig
    samples: tuple[Sample, ...]
    sizes: tuple[int, ...]


@contextmanager
def joined(launch: Launch, advice: str) -> Iterator[Link]:
    """Connect the processes of a launch, and end all of them if one ends early.

    Every process has to call it, within 5 min.

    Args:
        launch: this process's place.
        advice: what to do after an end, for messages.

    Raises:
        RunError: a process did not come, or cannot be reached.
        LostError, ToldError: another process ended, or failed.
    """
    was_initialised = distributed.is_initialized()  # as by Ray Train
    link, store = _join(launch, advice)
    try:
        yield link
    except BaseException as error:
        if isinstance(error, RuntimeError) and _is_of_collective(error):
            try:
                link.check(_SEEN_S)
            except RunError as lost:
                link.close(str(lost))
                raise lost from error
        # An interruption that has been agreed upon says how to resume.
        is_agreed = isinstance(error, KeyboardInterrupt) and bool(str(error))
        link.close(None if is_agreed else first_line(error))
        raise
    link.close()
    if not was_initialised and distributed.is_initialized():
        distributed.destroy_process_group()
    del store


def strategy_and_place(launch: Launch) -> dict[str, Any]:
    """Tell Fabric, in its arguments, of the processes that were started."""
    os.environ.setdefault("LOCAL_RANK", str(launch.local_rank))  # which Fabric reads itself
    return {
        "strategy": DDPStrategy(timeout=_LONG),
        "devices": launch.local_processes,
        "num_nodes": launch.processes // launch.local_processes,
        "plugins": [TorchElasticEnvironment()],
    }


def make_plan(launch: Launch, config: TrainConfig, samples: Sequence[Sample]) -> Plan:
    """Make what the first process tells the others."""
    is_one_machine = launch.processes == launch.local_processes
    sizes = () if is_one_machine else tuple(sample.path.stat().st_size for sample in samples)
    return Plan(config, tuple(samples), sizes)


@contextmanager
def going_on_alone(launch: Launch, link: Link) -> Iterator[None]:
    """Do what is left in the first process alone, with the threads of all on this machine.

    The others may end meanwhile.
    """
    link.release()
    torch.set_num_threads(torch.get_num_threads() * launch.local_processes)
    limit_threads()
    with alone():
        yield


def check_files(launch: Launch, plan: Plan) -> None:
    """See that this machine has the images that the first process has read (DataError)."""
    if launch.local_rank:
        return  # one process of each machine looks
    for sample, size in zip(plan.samples, plan.sizes, strict=False):
        found = _size(sample.path)
        if found != size:
            what = "is not there" if found is None else f"has {found} bytes, not {size}"
            raise DataError(
                f"{sample.path} {what} on the machine of process {launch.rank}; every machine "
                "needs the same images under the same paths"
            )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _join(launch: Launch, advice: str) -> tuple[Link, Any]:
    """Connect with the others; the store is to be kept, as others may read it through this one."""
    global _calls
    _calls += 1
    store: Any = None
    server, address = listen(os.environ["MASTER_ADDR"]) if launch.is_first else (None, None)
    try:
        if distributed.is_initialized():
            told = [address]
            is_nccl = distributed.get_backend() == "nccl"
            device = torch.device("cuda", launch.local_rank) if is_nccl else None
            distributed.broadcast_object_list(told, 0, device=device)
            address = told[0]
        else:
            timeout = timedelta(seconds=JOIN_S)
            store, _, _ = next(rendezvous("env://", timeout=timeout))
            key = f"mambaad/{_calls}"
            if address is not None:
                store.set(key, " ".join(map(str, address)))
            else:
                host, port, token = store.get(key).decode().split()
                address = host, int(port), token
    except RuntimeError as error:  # those of torch.distributed
        raise RunError(
            f"process {launch.rank} of {launch.processes} has not found the others "
            f"({first_line(error)}); see their messages, then {advice}"
        ) from error
    assert address is not None
    if server is not None:
        return accept(server, address, launch, advice), store
    return connect(address, launch, advice), store


def _is_of_collective(error: RuntimeError) -> bool:
    kind = getattr(distributed, "DistError", None)  # not in every version
    if kind is not None and isinstance(error, kind):
        return True
    return any(word in str(error).lower() for word in _FROM_COLLECTIVES)
