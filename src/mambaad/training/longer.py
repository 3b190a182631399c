"""Training a run for more epochs than it was begun with, whether it has ended or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import (
    CALIBRATION,
    CHECKPOINT,
    CONFIG,
    HEAD_CHECKPOINT,
    HEAD_LOG,
    PROTOTYPES,
)
from mambaad.artifacts.run_folder import is_finished, read_log
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig, config_json
from mambaad.inference.weights import load_model
from mambaad.progress import say, warn
from mambaad.training.checkpoint import Position, checkpoint_content
from mambaad.training.optimizer import make_optimizer
from mambaad.training.schedule import epoch_batches, learning_rate
from mambaad.types import Sample


def lengthen(out: Path, config: TrainConfig, samples: Sequence[Sample]) -> None:
    """Give a run other epochs, as the next generation; a run that has ended can be resumed then.

    The learning rate is from there on that of a training of so many epochs, which in the schedule
    ``cosine`` rises again from 0. A run that has ended keeps no state of AdamW: its means begin
    anew. What was made of the former weights at the end, or after it, is removed: prototypes, the
    residual head's log, calibration.

    Args:
        out: the run folder; the caller holds its lock, and has checked the epochs
            (:func:`mambaad.artifacts.run_folder.check_longer`).
        config: its settings, with the new epochs.
        samples: the images that it is trained on.

    Raises:
        RunError: the run is damaged, or cannot be written.
    """
    files: dict[str, Any] = {CONFIG: [config_json(config).encode()]}
    with opened(out) as run:
        log, was_calibrated = read_log(run), run.has(CALIBRATION)
        if is_finished(run):
            steps = epoch_batches(len(samples), config.batch_size, config.devices, config.seed, 0)
            model = load_model(run)
            position = Position(epoch=len(log), log=log, prior_steps=len(log) * len(steps))
            optimizer = make_optimizer(model, config, fused=False)
            files[CHECKPOINT] = checkpoint_content(model, optimizer, position)
    commit(out, files, removed=(PROTOTYPES, CALIBRATION, HEAD_LOG, HEAD_CHECKPOINT))
    rate = learning_rate(config, len(log))
    say(
        f"training goes on after {len(log)} epochs, to {config.epochs}, at the learning rates of a "
        f"training of {config.epochs} epochs: {rate:g} at first"
    )
    if was_calibrated:
        warn("the calibration was of the former weights and is removed; calibrate again at the end")
