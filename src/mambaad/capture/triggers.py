"""What begins a part: every n-th frame, a region that changes, a signal from outside."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image

from mambaad.capture.frame import Frame
from mambaad.capture.plan import Plan
from mambaad.errors import ConfigError
from mambaad.progress import warn

LATEST = 2.0
"""Seconds after a signal from which on a frame no longer shows the part that was signalled."""
_MOST_SIGNALS = 10_000
_LONGEST_CHANGE = 500  # frames, after which a change is what the picture is without a part
_FOLLOWS = 0.005  # how much of the picture without a part is replaced by each new one
_CELLS = 16  # a side, whose means are compared: the noise of single pixels is no change


@dataclass(frozen=True)
class Begin:
    """A part begins.

    ``serial``: as the signal gave it. ``error``: why no frame shows it.
    """

    serial: str | None = None
    error: str | None = None


class Trigger(Protocol):
    """Says with each frame which parts begin with it.

    ``sees_parts``: whether what begins is a part that was seen or signalled, of which none may be
    lost; else it is a stretch of the source. ``is_over``: whether no part can begin any more.
    """

    sees_parts: bool

    @property
    def is_over(self) -> bool:
        """Whether no part can begin any more."""

    def begins(self, frame: Frame) -> Iterator[Begin]:
        """The parts that begin with a frame, in their order."""

    def rest(self) -> Iterator[Begin]:
        """The parts that were signalled, and of which no frame came before the source's end."""


class Every:
    """A part begins every n frames (a :class:`Trigger`)."""

    sees_parts = False
    is_over = False

    def __init__(self, n: int) -> None:
        self._n = n

    def begins(self, frame: Frame) -> Iterator[Begin]:
        """One part if the frame's number is a multiple of n."""
        if frame.index % self._n == 0:
            yield Begin()

    def rest(self) -> Iterator[Begin]:
        """None."""
        return iter(())


class Change:
    """A part begins when a region changes (a :class:`Trigger`), as a light barrier is broken.

    The region is compared with what it was without a part: at the source's beginning, and since
    then followed slowly, so that daylight may move on. The next part can begin when the difference
    has fallen below half the level. A change that stays for 500 frames is taken for the new picture
    without a part, else a lamp that fails would end all inspection.

    Args:
        region: left, top, width and height in pixels; None: the whole picture.
        level: mean difference in grey levels that counts as a change.
    """

    sees_parts = True
    is_over = False

    def __init__(self, region: tuple[int, int, int, int] | None, level: float) -> None:
        self._region, self._level = region, level
        self._without: Float[np.ndarray, "h w 3"] | None = None
        self._changed_for = 0

    def begins(self, frame: Frame) -> Iterator[Begin]:
        """One part if the region has changed, and had not before.

        Raises:
            ConfigError: the region lies outside the picture.
        """
        if frame.pixels is None:
            return
        now = self._seen(frame.pixels)
        if self._without is None or self._without.shape != now.shape:
            self._without, self._changed_for = now, 0
            return
        difference = float(np.abs(now - self._without).mean())
        limit = self._level / 2 if self._changed_for else self._level
        if difference <= limit:
            self._without += _FOLLOWS * (now - self._without)
            self._changed_for = 0
            return
        self._changed_for += 1
        if self._changed_for == 1:
            yield Begin()
        elif self._changed_for > _LONGEST_CHANGE:
            warn(
                f"{frame.source}: the picture has been another one for {_LONGEST_CHANGE} frames, "
                f"by {difference:.1f} grey levels, and is taken for one without a part; no part "
                "was seen meanwhile; if there were some, give another region or level (--trigger)"
            )
            self._without, self._changed_for = now, 0

    def rest(self) -> Iterator[Begin]:
        """None."""
        return iter(())

    def _seen(self, pixels: np.ndarray) -> Float[np.ndarray, "h w 3"]:
        height, width = pixels.shape[:2]
        left, top, wide, high = self._region or (0, 0, width, height)
        if left + wide > width or top + high > height:
            raise ConfigError(
                f"--trigger: the region {left},{top},{wide},{high} lies outside the picture, which "
                f"is {width} x {height}; give another"
            )
        region = Image.fromarray(pixels[top : top + high, left : left + wide])
        cells = region.resize((min(wide, _CELLS), min(high, _CELLS)), Image.Resampling.BOX)
        return np.asarray(cells, np.float32)


class Signals:
    """Signals from outside (a :class:`Trigger`): a program calls :meth:`fire` for each part.

    A part begins with the first frame that was taken at or after its signal. If that comes more
    than two seconds later, as the camera was lost, the part has an error instead.
    """

    sees_parts = True

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, str | None]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def fire(self, serial: str | None = None) -> None:
        """Signal a part, from any thread; waits while thousands of signals have had no frame.

        Args:
            serial: of the part, for its record.
        """
        moment = time.time()
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _MOST_SIGNALS or self._is_closed)
            self._waiting.append((moment, serial))

    def close(self) -> None:
        """Say that no signal will come any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether no signal will come, and none waits."""
        with self._changed:
            return self._is_closed and not self._waiting

    def begins(self, frame: Frame) -> Iterator[Begin]:
        """The parts that were signalled before the frame was taken."""
        while True:
            with self._changed:
                if not self._waiting or self._waiting[0][0] > frame.taken:
                    return
                moment, serial = self._waiting.popleft()
                self._changed.notify_all()
            late = frame.taken - moment
            if late > LATEST:
                yield Begin(serial, f"the next frame came {late:.1f} s after its signal")
            else:
                yield Begin(serial)

    def rest(self) -> Iterator[Begin]:
        """The parts that were signalled after the last frame."""
        with self._changed:
            waiting = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for _, serial in waiting:
            yield Begin(serial, "the source ended before a frame of it")


def make_trigger(plan: Plan, signals: Signals | None, *, is_live: bool) -> Trigger:
    """Make the trigger of a plan.

    Args:
        plan: names it.
        signals: those of the trigger ``signal``, if it is that.
        is_live: whether the source's frames come at their own time.

    Raises:
        ConfigError: signals for a source without a clock, or none where they are needed.
    """
    if plan.every is not None:
        return Every(plan.every)
    if plan.trigger != "signal":
        return Change(plan.region, plan.level)
    if not is_live:
        raise ConfigError(
            "--trigger signal: a file or folder has no clock that signals could be compared with; "
            "use every:N or change"
        )
    if signals is None:
        raise ConfigError("--trigger signal: give signals, a mambaad.capture.triggers.Signals")
    return signals
