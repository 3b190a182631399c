"""How frames become a part's: when a part begins, which frames are its own, how they are joined."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mambaad.errors import ConfigError

RULES = re.compile(r"max|mean|median|at-least:([1-9]\d*)")
_TRIGGERS = "every:N, change, change:X,Y,WIDTH,HEIGHT[:LEVEL] or signal"
LEVEL = 12.0
"""Mean difference, in grey levels, from which on a region counts as changed."""


@dataclass(frozen=True)
class Plan:
    """How a part (or a machine's cycle) is made of frames; thresholds hold for one plan.

    ``trigger``: what begins a part: ``"every:N"``, every N-th frame; ``"change"``, the picture
    differs from what it was without a part, or ``"change:X,Y,WIDTH,HEIGHT"``, a region in pixels
    does, with ``":LEVEL"`` by that many grey levels in the mean; ``"signal"``, one from outside.
    ``frames``: how many a part has. ``step``: one of so many frames is taken. ``delay``: frames
    that are passed over first. ``rule``: how the frames' scores become the part's: ``"max"``,
    ``"mean"``, ``"median"``, or ``"at-least:N"``, the N-th highest, so that N frames have to be
    above a threshold.

    Raises:
        ConfigError: anything else.
    """

    trigger: str = "every:1"
    frames: int = 1
    step: int = 1
    delay: int = 0
    rule: str = "max"

    def __post_init__(self) -> None:
        self.every  # noqa: B018  # the properties refuse what they cannot read
        self.region  # noqa: B018
        if not (self.trigger in ("change", "signal") or self.every or self.region):
            raise ConfigError(f"--trigger: expected {_TRIGGERS}, got '{self.trigger}'")
        for flag, value, least in (
            ("--frames", self.frames, 1),
            ("--step", self.step, 1),
            ("--delay", self.delay, 0),
        ):
            if value < least:
                raise ConfigError(f"{flag}: expected {least} or more, got {value}")
        found = RULES.fullmatch(self.rule)
        if not found:
            raise ConfigError(
                f"--rule: expected max, mean, median or at-least:N, got '{self.rule}'"
            )
        if found[1] and int(found[1]) > self.frames:
            raise ConfigError(
                f"--rule {self.rule}: a part has {self.frames} frames; give more --frames"
            )

    @property
    def every(self) -> int | None:
        """N of ``every:N``; None of other triggers."""
        found = re.fullmatch(r"every:([1-9]\d{0,8})", self.trigger)
        return int(found[1]) if found else None

    @property
    def region(self) -> tuple[int, int, int, int] | None:
        """Left, top, width and height, in pixels, of the region that changes; None: the whole."""
        found = re.fullmatch(r"change:(\d+),(\d+),([1-9]\d*),([1-9]\d*)(:.*)?", self.trigger)
        if not found:
            return None
        self.level  # noqa: B018
        left, top, width, height = (int(found[n]) for n in range(1, 5))
        return left, top, width, height

    @property
    def level(self) -> float:
        """Grey levels by which a region has to change."""
        level = self.trigger.split(":")[2:]
        if not level:
            return LEVEL
        if not re.fullmatch(r"\d+(\.\d+)?", level[0]) or not 0 < float(level[0]) < 255:
            raise ConfigError(
                f"--trigger: the level is above 0 and below 255, got '{level[0]}'; expected "
                f"{_TRIGGERS}"
            )
        return float(level[0])
