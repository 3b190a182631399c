"""The log of an epoch: its progress while it runs, and its record at the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from mambaad.progress import ProgressBar, say
from mambaad.training.checkpoint import Position
from mambaad.training.gpu_meter import GpuMeter


class EpochLog:
    """Counts steps into a :class:`Position`, shows them in a progress bar, and makes the record.

    Use as a context manager.

    Args:
        position: where the epoch starts or, when resumed, continues; :meth:`add_step` moves it.
        epochs: how many the whole training has.
        steps: how many the epoch has.
        images_per_step: over all devices.
        meter: utilisation of the device.
        show: whether this process prints; one of several does.
    """

    def __init__(
        self,
        position: Position,
        *,
        epochs: int,
        steps: int,
        images_per_step: int,
        meter: GpuMeter,
        show: bool,
    ) -> None:
        self._position = position
        self._epochs = epochs
        self._steps = steps
        self._images_per_step = images_per_step
        self._meter = meter
        self._show = show
        self._title = f"epoch {position.epoch + 1}/{epochs}"
        self._bar = ProgressBar(self._title, show=show)
        # As if an epoch that was interrupted had started this much earlier.
        self._started = time.perf_counter() - position.seconds
        self._waited = position.waited

    def __enter__(self) -> EpochLog:
        self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def add_step(self, loss: float, waited: float) -> None:
        """Count one step.

        Args:
            loss: mean over the images of the step, on all devices.
            waited: seconds that this epoch's steps have waited for images since it (re)started.
        """
        position = self._position
        position.step += 1
        position.loss_sum += loss
        position.seconds = time.perf_counter() - self._started
        position.waited = self._waited + waited
        self._meter.read(position.step)
        self._bar.update(position.step, self._steps, self._note())

    def end(self, learning_rate: float) -> dict[str, Any]:
        """Print the epoch's line, and return its record for the log.

        Args:
            learning_rate: that at the start of the epoch, which is logged as ``lr``.
        """
        position = self._position
        if self._show:
            left = (self._epochs - position.epoch - 1) * position.seconds / 60
            say(f"{self._title}  {self._note()}  {left:.0f} min left")
        busy = self._meter.mean
        return {
            "epoch": position.epoch + 1,
            "loss": position.loss_sum / position.step,
            "lr": learning_rate,
            "images_per_s": round(self._speed(), 3),
            "seconds": round(position.seconds, 3),
            "waited": round(position.waited, 3),
            **({"gpu_percent": round(busy, 1)} if busy is not None else {}),
        }

    def _speed(self) -> float:
        return self._position.step * self._images_per_step / self._position.seconds

    def _note(self) -> str:
        mean_loss = self._position.loss_sum / self._position.step
        return f"loss {mean_loss:.4f}  {self._speed():.1f} images/s{self._meter.note}"
