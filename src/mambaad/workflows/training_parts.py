"""The parts that a run was trained on, found again in a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mambaad.artifacts.fingerprint import fingerprint, part_digests
from mambaad.artifacts.run_folder import read_config, read_data_summary
from mambaad.artifacts.snapshot import Snapshot
from mambaad.data.checks import check_images
from mambaad.data.depth import with_reading
from mambaad.data.exclusion import without
from mambaad.data.images import read_sample_image, resize_image
from mambaad.data.parts import Parts
from mambaad.data.splits import hold_out
from mambaad.data.unread import list_data
from mambaad.errors import DataError
from mambaad.progress import warn
from mambaad.types import ProductClass

MOST_IMAGES = 48
"""Images, of all classes together, that int8's scales are chosen on."""


def training_classes(
    run: Path,
    summary: Mapping[str, Any],
    data: Path | Parts,
    classes: list[ProductClass],
    skip_unreadable: bool,
    *,
    otherwise: str = "add --new-parts if it was trained on none of these",
) -> list[ProductClass]:
    """Return the classes as a run was trained on them, those parts that it held out included.

    Files are compared by digest, without decoding them. If the digests differ, unreadable images
    may be the reason: they are reported, or skipped as training did.

    Args:
        run: its path, for errors.
        summary: what it keeps of its data.
        data: the data set, for errors.
        classes: of the data set.
        skip_unreadable: skip unreadable images.
        otherwise: what else may be done where these are other parts.

    Raises:
        DataError: they are other parts, or an image cannot be read.
    """
    wanted = summary["fingerprint"]
    if fingerprint(part_digests(classes)) == wanted:
        return classes
    checked, skipped = check_images(classes, skip_unreadable=skip_unreadable)
    for problem in skipped:
        warn(f"left out: {problem}")
    if fingerprint(part_digests(checked)) != wanted:
        raise DataError(
            f"{data} does not hold the parts that {run} was trained on (other contents, or "
            f"another order); give those, or {otherwise}"
        )
    return checked


def trained_on(run: Snapshot, data: Path) -> list[ProductClass]:
    """Find the parts that a run was trained on, without those that it held out.

    Args:
        run: an open run or bundle.
        data: the data set that it was trained on.

    Raises:
        DataError: it was trained on other parts, or an image cannot be read.
    """
    config, summary = read_config(run), read_data_summary(run)
    names = list(summary["classes"])
    listed = without(list_data(data, names, layout=config.layout), data, config.exclude or ())
    classes = training_classes(
        run.source,
        summary,
        data,
        with_reading(listed, config.reading),
        skip_unreadable=False,
        otherwise="export with --precision float32, which needs none",
    )
    left, _ = hold_out(classes, share=config.holdout, fold=config.fold, seed=config.seed)
    return left


def training_images(
    run: Snapshot, classes: Sequence[ProductClass], tiles: tuple[int, int] | None
) -> UInt8[np.ndarray, "n h w 3"]:
    """Read some of what a run was trained on, at the model's size, as many of each class.

    Args:
        run: an open run or bundle.
        classes: of :func:`trained_on`.
        tiles: size and stride of those that it sees large images in; then most images are tiles.

    Raises:
        DataError: there are none, or an image cannot be read.
    """
    from mambaad.training.samples import training_samples  # PyTorch takes seconds to load

    config = read_config(run).model_copy(update={"tiles": tiles})
    images = []
    for c in classes:
        samples = [sample for sample in training_samples([c], config) if not sample.is_defective]
        few = max(min(MOST_IMAGES // len(classes), len(samples)), 1)
        for i in np.linspace(0, len(samples) - 1, few).astype(int) if samples else ():
            images.append(resize_image(read_sample_image(samples[i]), config.size))
    if not images:
        raise DataError(f"{run.source} was trained on no good parts; export it with float32")
    return np.stack(images)
