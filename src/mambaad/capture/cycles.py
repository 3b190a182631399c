"""Frames become cycles: those of one part each, or of one cycle of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mambaad.capture.frame import Frame
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Begin, Trigger
from mambaad.errors import ConfigError
from mambaad.progress import say

MOST_BYTES = 2**29
"""Of the frames of cycles that are being collected, and again of those that wait."""


@dataclass(frozen=True)
class Cycle:
    """The frames of one part, or of one cycle of a machine.

    ``number``: from 1, in the order in which they began. ``source``: its name. ``frames``: as many
    as the plan has, unless there is an ``error``, which says why it cannot be inspected.
    ``serial``: as the signal gave it. ``dropped``: how many cycles before this one were dropped,
    since the last one that was not.
    """

    number: int
    source: str
    frames: tuple[Frame, ...]
    serial: str | None = None
    error: str | None = None
    dropped: int = 0

    @property
    def nbytes(self) -> int:
        """Of its frames' pixels."""
        return sum(frame.pixels.nbytes for frame in self.frames if frame.pixels is not None)


@dataclass
class _Begun:
    """A cycle that is being collected; ``seen``: frames since it began."""

    number: int
    begin: Begin
    frames: list[Frame] = field(default_factory=list)
    session: int = 0
    seen: int = 0

    def offer(self, frame: Frame, plan: Plan) -> None:
        place, self.seen = self.seen - plan.delay, self.seen + 1
        if place >= 0 and place % plan.step == 0:
            self.frames.append(frame)

    def ended(self, source: str, error: str | None = None) -> Cycle:
        errors = [self.begin.error, error, *(frame.error for frame in self.frames)]
        found = next((one for one in errors if one), None)
        return Cycle(self.number, source, tuple(self.frames), self.begin.serial, found)


def cycles_of(
    frames: Iterable[Frame], trigger: Trigger, plan: Plan, source: str
) -> Iterator[Cycle]:
    """Collect the frames of each cycle.

    Cycles may overlap, and end in the order in which they began. One that the source's end or loss
    breaks off has an error; but what is only a stretch of the source is left out.

    Args:
        frames: of one source, in their order.
        trigger: says when a cycle begins.
        plan: says which frames it has.
        source: its name.

    Raises:
        ConfigError: its frames take too much memory.
    """
    number, begun = 0, list[_Begun]()
    short = f"of {plan.frames} frames"
    for frame in frames:
        while begun and begun[0].session != frame.session:
            broken = begun.pop(0)
            yield broken.ended(source, f"the source was lost after {len(broken.frames)} {short}")
        for begin in trigger.begins(frame):
            number += 1
            begun.append(_Begun(number, begin, session=frame.session))
        for one in begun:
            if not one.begin.error:
                one.offer(frame, plan)
        _check_memory(begun, plan)
        while begun and (begun[0].begin.error or len(begun[0].frames) == plan.frames):
            yield begun.pop(0).ended(source)
        if trigger.is_over and not begun:
            return
    if begun and not trigger.sees_parts:
        say(f"{source}: the last {len(begun[0].frames)} frames are too few for a part {short}")
        begun = []
    for one in begun:
        yield one.ended(source, f"the source ended after {len(one.frames)} {short}")
    for begin in trigger.rest():
        number += 1
        yield _Begun(number, begin).ended(source)


def _check_memory(begun: list[_Begun], plan: Plan) -> None:
    frames = {id(frame): frame.pixels for one in begun for frame in one.frames}
    size = sum(pixels.nbytes for pixels in frames.values() if pixels is not None)
    if size > MOST_BYTES:
        raise ConfigError(
            f"--frames {plan.frames}: the frames of parts that are not complete take more than "
            f"{MOST_BYTES >> 20} MiB; give fewer, or a larger --step with fewer"
        )
