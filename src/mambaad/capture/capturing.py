"""A thread that captures: it reads a source and collects cycles, which wait in a bounded queue."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Literal

from mambaad.capture.cycles import MOST_BYTES, Cycle, cycles_of
from mambaad.capture.frame import Source
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Trigger
from mambaad.errors import ConfigError

Policy = Literal["every-part", "live"]
POLICIES: tuple[Policy, ...] = ("every-part", "live")
MOST_WAITING = {"every-part": 8, "live": 1}
"""The most cycles that wait to be inspected."""


def check_policy(policy: str) -> None:
    """Refuse an unknown policy (ConfigError)."""
    if policy not in POLICIES:
        raise ConfigError(f"--policy: expected {' or '.join(POLICIES)}, got '{policy}'")


class Capturing:
    """Captures in a thread of its own; iterate over it to get the cycles.

    Use as a context manager, whose end stops the thread: at once where frames come, and after five
    seconds where a camera is silent.

    Args:
        source: gives frames.
        trigger: says when a cycle begins.
        plan: how cycles are made of frames.
        policy: what happens where inspection is slower than the source: with ``"every-part"`` the
            source waits, with ``"live"`` the cycle that has waited longest is dropped and counted.

    Attributes:
        dropped: cycles that were dropped.
        waited: seconds for which the source waited for the inspection.
    """

    def __init__(
        self, source: Source, trigger: Trigger, plan: Plan, policy: Policy = "every-part"
    ) -> None:
        check_policy(policy)
        self.source, self.dropped, self.waited = source, 0, 0.0
        self._trigger, self._plan, self._policy = trigger, plan, policy
        self._cycles: deque[Cycle] = deque()
        self._dropped_since = 0
        self._has_ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)

    @property
    def waiting(self) -> int:
        """How many cycles wait now."""
        return len(self._cycles)

    def __enter__(self) -> Capturing:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[Cycle]:
        """Give each cycle that is not dropped, in their order; then raise the source's error."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._cycles or self._has_ended)
                if not self._cycles:
                    if self._error is not None:
                        raise self._error
                    return
                cycle = replace(self._cycles.popleft(), dropped=self._dropped_since)
                self._dropped_since = 0
                self._changed.notify_all()
            yield cycle

    def _capture(self) -> None:
        frames = self.source.frames(self._stop)
        try:
            for cycle in cycles_of(frames, self._trigger, self._plan, self.source.name):
                self._put(cycle)
                if self._stop.is_set():
                    break
        except BaseException as error:  # raised where the cycles are taken
            self._error = error
        finally:
            close = getattr(frames, "close", None)  # of a generator, which lets go of the camera
            if close:
                close()
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _put(self, cycle: Cycle) -> None:
        with self._changed:
            if self._policy == "live":
                while self._cycles and not self._has_room(cycle):
                    self._cycles.popleft()
                    self.dropped += 1
                    self._dropped_since += 1
            elif not self._has_room(cycle):
                began = time.monotonic()
                self._changed.wait_for(lambda: self._has_room(cycle) or self._stop.is_set())
                self.waited += time.monotonic() - began
            self._cycles.append(cycle)
            self._changed.notify_all()

    def _has_room(self, cycle: Cycle) -> bool:
        size = cycle.nbytes + sum(waiting.nbytes for waiting in self._cycles)
        most = MOST_WAITING[self._policy]
        return not self._cycles or (len(self._cycles) < most and size <= MOST_BYTES)
