"""What a program has called while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepEnd:
    """A step of a training that has just ended.

    ``epoch``: from 1, of ``epochs``. ``step``: from 1, of ``steps`` in the epoch. ``loss``: the
    mean over the step's images. ``lr``: the learning rate.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    lr: float


@dataclass(frozen=True)
class Callbacks:
    """Functions that the training loop calls; what they raise ends the training.

    ``after_step``: after each step. ``after_epoch``: with the epoch's record, once the run has the
    epoch's weights; the figures that it returns, if any, go into the log.
    """

    after_step: Callable[[StepEnd], object] | None = None
    after_epoch: Callable[[Mapping[str, Any]], Mapping[str, float | None] | None] | None = None


NO_CALLBACKS = Callbacks()
