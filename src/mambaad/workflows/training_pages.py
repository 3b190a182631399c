"""``run.html`` while a run is trained: after epochs, and at the end with examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mambaad.artifacts.manifest import PAGE
from mambaad.progress import warn
from mambaad.report.training_page import training_examples, write_training_page
from mambaad.training.callbacks import Callbacks
from mambaad.types import ProductClass

_BETWEEN = 20.0  # seconds from one page to the next, which takes about a third of one

HELD_OUT = "Good parts that were held out: the model has not seen them."
SEEN = (
    "Good parts that the model was trained on, as none were held out (--holdout): on parts that it "
    "has not seen, maps show more."
)


class TrainingPages:
    """Writes the page of a run that is being trained. What fails in it stops no training.

    Args:
        run: the run folder, whose lock the caller holds.
        is_wanted: False for a run that nobody will look at.
    """

    def __init__(self, run: Path, *, is_wanted: bool = True) -> None:
        self._run = run
        self._is_wanted = is_wanted
        self._written = -_BETWEEN

    def after_each_epoch(self, callbacks: Callbacks) -> Callbacks:
        """The same callbacks, which also write the page, unless there has just been one."""
        if not self._is_wanted:
            return callbacks

        def finish_epoch(record: Mapping[str, Any]) -> Mapping[str, float | None] | None:
            if time.monotonic() - self._written > _BETWEEN:
                self._try(lambda: write_training_page(self._run))
                self._written = time.monotonic()
            return callbacks.after_epoch(record) if callbacks.after_epoch else None

        return replace(callbacks, after_epoch=finish_epoch)

    def write_last(
        self, trained: Sequence[ProductClass], held_out: Sequence[ProductClass], device: str
    ) -> None:
        """Write the page of a training that has ended, with the maps of some good parts.

        Args:
            trained: the classes with the parts that the model was trained on.
            held_out: the classes with those that it was not; they are shown if there are any.
            device: see :class:`mambaad.Inspector`.
        """
        has_unseen = any(c.train for c in held_out)
        parts, words = (held_out, HELD_OUT) if has_unseen else (trained, SEEN)

        def write() -> None:
            write_training_page(self._run)  # even if what follows fails
            write_training_page(self._run, training_examples(self._run, parts, device), words)

        if self._is_wanted:
            self._try(write)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # the weights are there, whatever fails in showing them
            reason = " ".join(str(error).split()) or type(error).__name__
            warn(f"{self._run / PAGE} is not up to date: {reason}")
