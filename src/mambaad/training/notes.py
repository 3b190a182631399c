"""What is said before a training that is likely to be too short, or to see too few parts."""

from __future__ import annotations

from collections.abc import Sequence

from mambaad.config import TrainConfig
from mambaad.training.schedule import epoch_batches
from mambaad.types import ProductClass

FEW_PARTS = 20
"""With fewer good parts of a class the model sees little of how good parts vary."""
FEW_STEPS = 100
"""After fewer steps the loss still falls fast, whatever the recipe."""


def notes_on_length(
    config: TrainConfig, classes: Sequence[ProductClass], samples: int
) -> list[str]:
    """Say which classes have few good parts, and that there are few steps; nothing else.

    Args:
        config: epochs and batch size.
        classes: as they are trained on, held-out parts removed.
        samples: their images, or the views of them, of which an epoch has each.
    """
    notes = []
    few = [f"{c.name} {len(c.train)}" for c in classes if len(c.train) < FEW_PARTS]
    if few:
        notes.append(
            f"few good parts to train on: {', '.join(few)}; good parts unlike these will look "
            f"defective, so give {FEW_PARTS} or more of each class if you can"
        )
    steps = len(epoch_batches(samples, config.batch_size, config.devices, config.seed, 0))
    if config.epochs * steps < FEW_STEPS:
        enough = -(-FEW_STEPS // steps)
        notes.append(
            f"few epochs: {config.epochs} of {steps} steps each; the model is likely to find "
            f"little, so give --epochs {enough} or more"
        )
    return notes


def notes_on_images(
    config: TrainConfig,
    classes: Sequence[ProductClass],
    held_out: Sequence[ProductClass],
    samples: int,
) -> list[str]:
    """Lines on what a training uses; ``samples``: images, or views of them."""
    counts = ", ".join(f"{c.name} {len(c.train)}" for c in classes)
    images = sum(len(c.train) for c in classes)
    lines = [f"{images} training images of {len(classes)} classes: {counts}"]
    if config.tiles:
        lines.append(f"{samples} views of them, tiles of {config.tiles[0]} pixels and whole images")
    if config.exclude:
        lines.append(f"{len(config.exclude)} training images left out (--exclude)")
    if config.holdout or config.fold:
        lines.append(f"{sum(len(c.train) for c in held_out)} good parts held out for calibration")
    return lines
