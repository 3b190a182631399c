"""The executor of a cluster: Ray Data over the shards, with a pool of actors."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from mambaad.errors import MambaADError, RunError
from mambaad.progress import say, warn
from mambaad.shards.plan import Plan
from mambaad.shards.processes import cores
from mambaad.shards.results import Done
from mambaad.shards.stores import first_line
from mambaad.shards.worker import Worker

# Else a thread that asks for something at the end of a cluster starts another one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import ray
import ray.data
from ray.util import placement_group, remove_placement_group

PATIENCE = 30.0
"""Seconds without any worker after which the user is told."""
_BEAT = 5.0  # seconds between two signs of life of a worker


class Ray:
    """Executes a job on a Ray cluster; see :class:`mambaad.shards.plan.Executor`.

    Each worker is an actor, which has the model in a process of its own: what kills that, such as
    an image, does not kill the actor. Actors that die with their machine are started elsewhere, and
    their shards begun again.

    Args:
        workers: how many; by default one for each CPU of the cluster, or for each GPU.
        address: of the cluster, ``"auto"`` for the one of this machine; by default one is started
            here, and ended with the job.
        gpus: share of a GPU that each worker takes, where the cluster has some.
    """

    def __init__(
        self, workers: int | None = None, address: str | None = None, *, gpus: float = 1.0
    ) -> None:
        self._workers, self._address, self._gpus = workers, address, gpus

    def run(self, plan: Plan, shards: Sequence[int]) -> Generator[Done, None, None]:
        """Have shards inspected; see :meth:`mambaad.shards.plan.Executor.run`."""
        if not shards:
            return
        is_ours = not ray.is_initialized()
        if is_ours:
            self._connect()
        try:
            yield from self._run(plan, shards)
        finally:
            if is_ours:
                ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        before = signal.getsignal(signal.SIGTERM)
        quiet: Any = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if self._address is not None:
                ray.init(address=self._address, **quiet)
            else:
                number = self._workers or cores()
                ray.init(num_cpus=number, include_dashboard=False, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = self._address or "a cluster on this machine"
            raise RunError(
                f"--ray-address: {where} cannot be reached ({first_line(error)}); start one with "
                "'ray start --head', or omit it"
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end this process at once

    def _run(self, plan: Plan, shards: Sequence[int]) -> Iterator[Done]:
        total = _resources()[0]
        gpus = self._gpus if plan.device != "cpu" and total.get("GPU") else 0.0
        fitting = int(total["GPU"] / gpus) if gpus else int(total.get("CPU", 0))
        share = {"CPU": 1.0, **({"GPU": gpus} if gpus else {})}
        _check_room(share)
        workers = min(self._workers or max(fitting, 1), len(shards))
        if workers > fitting:
            warn(f"the cluster has room for {fitting} of {workers} workers at a time")
        say(f"{workers} workers on Ray: {len(shards)} shards")
        presence = _Presence.remote()  # type: ignore[attr-defined]  # of Ray's decorator
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        # Items that are there need no task to read them, which would wait for a CPU for ever; Ray
        # starts actors that die again, and what they were at.
        items = ray.data.from_items(list(shards), override_num_blocks=len(shards))
        dataset = items.map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            fn_constructor_args=(plan, presence),
            num_cpus=1,
            num_gpus=gpus or None,
        )
        yield from _watched(dataset, presence, share, len(shards))


def _check_room(share: dict[str, float]) -> None:
    """Refuse a cluster that has no room for a worker (RunError), after some patience."""
    group = placement_group([share])
    try:
        has_room = group.wait(PATIENCE)
    finally:
        remove_placement_group(group)
    if not has_room:
        raise _no_room(share)


def _resources() -> tuple[dict[str, float], dict[str, float]]:
    """What the cluster has of each kind, and what of it is free."""
    asked: Any = ray
    return asked.cluster_resources(), asked.available_resources()


def _no_room(share: dict[str, float]) -> RunError:
    total, free = _resources()
    found = ", ".join(
        f"{total.get(kind, 0):g} {kind}, {free.get(kind, 0):g} of them free" for kind in share
    )
    wanted = " and ".join(f"{number:g} {kind}" for kind, number in share.items())
    return RunError(
        f"no worker could be started within {PATIENCE:.0f} s: each takes {wanted}, and the cluster "
        f"has {found}; add a machine, wait for other jobs, or use --executor processes"
    )


def _watched(dataset: Any, presence: Any, share: dict[str, float], count: int) -> Iterator[Done]:
    """Yield what a pool gives, and look whether there are still workers (RunError)."""
    results = queue.Queue[Any]()
    is_over = threading.Event()

    def read() -> None:
        try:
            for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for content in batch["done"]:
                    results.put(str(content))
                if is_over.is_set():
                    return
        except BaseException as error:
            results.put(error)

    threading.Thread(target=read, name="ray results", daemon=True).start()
    seen, is_told = time.monotonic(), False
    try:
        while count:
            try:
                found = results.get(timeout=_BEAT)
            except queue.Empty:
                if _is_anybody(presence):
                    seen, is_told = time.monotonic(), False
                elif time.monotonic() - seen > PATIENCE and not is_told:
                    if _resources()[0].get("CPU", 0) < share["CPU"]:
                        raise _no_room(share) from None
                    warn(f"no worker has been at work for {PATIENCE:.0f} s; Ray starts others")
                    is_told = True
                continue
            seen = time.monotonic()
            if isinstance(found, BaseException):
                raise RunError(f"Ray cannot go on ({first_line(found)})") from found
            if not found.startswith("{"):
                raise RunError(found)
            count -= 1
            yield Done.model_validate_json(found)
    finally:
        is_over.set()


def _is_anybody(presence: Any) -> bool:
    try:
        since: float = ray.get(presence.since.remote(), timeout=_BEAT)
    except ray.exceptions.RayError:  # its machine died, and it is started elsewhere
        return False
    return since < 2 * _BEAT


@ray.remote(num_cpus=0, max_restarts=-1)
class _Presence:
    """Knows when a worker was last heard of."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def here(self) -> None:
        """Say that a worker is there."""
        self._last = time.monotonic()

    def since(self) -> float:
        """Seconds since a worker was last heard of."""
        return time.monotonic() - self._last


class _Actor:
    """A worker in the pool. The model is loaded once, with the first shard's process."""

    def __init__(self, plan: Plan, presence: Any) -> None:
        def beat() -> None:
            while True:
                presence.here.remote()
                time.sleep(_BEAT)

        threading.Thread(target=beat, daemon=True).start()
        self._worker = Worker(plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Inspect the shards of a batch; gives their markers as JSON, or a line of error."""
        try:
            return {"done": [self._inspect(int(shard)) for shard in batch["item"]]}
        except MambaADError as error:  # raised here, Ray would wrap it in the text of a traceback
            return {"done": [str(error)]}

    def _inspect(self, shard: int) -> str:
        return self._worker.inspect(shard).model_dump_json()
