"""A worker that goes on whatever its process dies of; executors have one for each core."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from mambaad.errors import RunError
from mambaad.progress import say
from mambaad.shards.child import Child, Died
from mambaad.shards.inspecting import Task
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done

DEATHS = 2
"""An image at which so many workers die, each with this image alone, is not inspected."""
_MOST_STARTS = 5  # one after the other that fail
_PAUSE = 0.5  # seconds, longer after each


class Stopped(Exception):
    """The job ends, and its workers with it."""


class Worker:
    """Inspects shards in a process of its own, and in another one whenever that dies.

    Which image a process has died at is not known at first, as images are read ahead. So the shard
    is begun again with one image at a time, and only deaths from then on count against an image.

    Args:
        plan: of the job.
        started: called with each new process that has its model.
    """

    def __init__(self, plan: Plan, started: Callable[[Child], None] = lambda child: None) -> None:
        self._plan, self._started = plan, started
        self._child: Child | None = None
        self._is_stopped = threading.Event()

    def start(self) -> Child:
        """Start its process, if it has none, and wait for the model to be loaded.

        Raises:
            RunError: the model cannot be loaded.
            Stopped: :meth:`stop` was called.
        """
        for attempt in range(1, _MOST_STARTS + 1):
            if self._is_stopped.is_set():
                raise Stopped
            if self._child is not None:
                return self._child
            child = self._child = Child(self._plan)  # which stop() may end from now on
            if self._is_stopped.is_set():
                raise Stopped
            try:
                child.load()
            except Died as death:
                self._drop(child)
                if not self._is_stopped.is_set():
                    say(f"a worker did not start: {death.reason} while it loaded the model")
                    self._is_stopped.wait(_PAUSE * attempt)
            else:
                self._started(child)
                return child
        if self._is_stopped.is_set():
            raise Stopped
        raise RunError(
            f"{self._plan.source} could not be loaded in {_MOST_STARTS} attempts: the worker "
            "ended each time; see whether the memory suffices, or give fewer --workers"
        )

    def inspect(self, shard: int) -> Done:
        """Inspect a shard, in as many attempts as it takes.

        Raises:
            RunError: it cannot be inspected, whoever tries.
            Stopped: :meth:`stop` was called.
        """
        deaths, lost = Counter[int](), dict[int, str]()
        elsewhere, is_careful = 0, False
        while True:
            child = self.start()
            began = time.monotonic()
            try:
                return child.inspect(Task(shard, dict(lost), is_careful))
            except Died as death:
                self._drop(child)
                if self._is_stopped.is_set():
                    raise Stopped from None
                after = time.monotonic() - began
                say(f"shard {shard} is begun again: {death.reason} after {after:.0f} s")
                if death.row is None:
                    elsewhere += 1
                    if elsewhere == _MOST_STARTS:
                        raise RunError(
                            f"shard {shard} could not be inspected in {elsewhere} attempts: "
                            f"{death.reason} while it read the manifest or wrote; see to the "
                            "memory and the store, then go on with --resume"
                        ) from death
                    continue
                if is_careful:
                    deaths[death.row] += 1
                    if deaths[death.row] >= DEATHS:
                        lost[death.row] = _reason(death)
                is_careful = True

    def stop(self) -> None:
        """End its process from another thread; the one that waits for it raises Stopped."""
        self._is_stopped.set()
        if (child := self._child) is not None:
            child.stop()

    def end(self) -> None:
        """End its process, once no thread waits for it."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _drop(self, child: Child) -> None:
        self._child = None
        child.kill()


def _reason(death: Died) -> str:
    return (
        f"the image could not be inspected in {DEATHS} attempts: {death.reason}; inspect it by "
        "itself to see why"
    )
