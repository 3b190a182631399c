"""The callbacks of a training that a program asks for, and validation between its epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mambaad.config import TrainConfig
from mambaad.data.layouts import read_data
from mambaad.data.parts import Parts, PartSequence, as_source
from mambaad.errors import ConfigError, DataError
from mambaad.inspection.inspector import Inspector
from mambaad.metrics.names import HEADINGS, METRICS
from mambaad.progress import say
from mambaad.training.callbacks import Callbacks, StepEnd
from mambaad.workflows.evaluate import Evaluation, evaluate


@dataclass(frozen=True)
class EpochEnd:
    """An epoch of a training that has just ended; the run has its weights.

    ``epoch``: from 1, of ``epochs``. ``loss``: the mean over its steps. ``lr``: the learning rate
    at its start. ``images_per_s``, ``seconds``: its speed, and how long it took. ``run``: the run
    folder. ``validation``: if there was one after this epoch.
    """

    epoch: int
    epochs: int
    loss: float
    lr: float
    images_per_s: float
    seconds: float
    run: Path
    validation: Evaluation | None = None


def make_callbacks(
    run: Path,
    config: TrainConfig,
    data: Path | Parts,
    device: str,
    after_step: Callable[[StepEnd], object] | None,
    after_epoch: Callable[[EpochEnd], object] | None,
    validate_every: int | None,
    validate_on: str | Path | PartSequence | None,
) -> Callbacks:
    """Make what the training loop calls; see :func:`mambaad.train` for the arguments.

    Raises:
        ConfigError: arguments that cannot be together.
        DataError: nothing to validate on.
    """
    is_asked_for = any((after_step, after_epoch, validate_every))
    if config.devices > 1 and is_asked_for:
        raise ConfigError(
            f"--devices {config.devices}: after_step, after_epoch and validate_every need one "
            "device; omit them, or train on one"
        )
    if validate_every is None:
        if validate_on is not None:
            raise ConfigError("validate_on needs validate_every, such as 5 for every fifth epoch")
    elif isinstance(validate_every, bool) or validate_every < 1:
        raise ConfigError(f"validate_every: expected 1 epoch or more, got {validate_every}")
    if after_epoch is None and validate_every is None:
        return Callbacks(after_step)
    test = _test_data(data, validate_on, config) if validate_every is not None else None

    def finish_epoch(record: Mapping[str, Any]) -> Mapping[str, float | None] | None:
        epoch, found = record["epoch"], None
        if test is not None and validate_every is not None and epoch % validate_every == 0:
            found = evaluate(Inspector(run, device=device), test)
            known = [(m, v) for m in METRICS if (v := found.mean[m]) is not None]
            figures = (f"{HEADINGS[m]} {100 * v:.1f}" for m, v in known)
            say(f"epoch {epoch}/{config.epochs}  validation: {', '.join(figures)}")
        if after_epoch is not None:
            names = ("loss", "lr", "images_per_s", "seconds")
            values = {name: record[name] for name in names}
            after_epoch(EpochEnd(epoch, config.epochs, **values, run=run, validation=found))
        return found.mean if found else None

    return Callbacks(after_step, finish_epoch)


def _test_data(
    data: Path | Parts, given: str | Path | PartSequence | None, config: TrainConfig
) -> Path | Parts:
    """Choose what to validate on, and see that there is something."""
    if given is None and isinstance(data, Parts):
        raise ConfigError(
            "validate_every needs validate_on, as the data have good parts only: a folder with "
            "test images, or good and defective parts"
        )
    test = data if given is None else as_source(given)
    if isinstance(test, Path):
        classes = read_data(test, config.classes, split="test", layout=config.layout)
        if not any(c.test for c in classes):
            raise DataError(f"{test} has no test images to validate on; see docs/datasets.md")
    elif not len(test):
        raise DataError("validate_on has no parts; give good and defective ones")
    return test
