"""The polarity of masks: what they mark should look like defects, and not like the ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

NEARLY_ALL = 0.9
"""Share of an image, or of its border, from which on a mask marks nearly all of it."""


class Coverage(NamedTuple):
    """The shares of an image, and of the pixels at its border, that a mask marks."""

    image: float
    border: float

    @property
    def seems_inverted(self) -> bool:
        """Whether what is marked looks like the ground: it is at the border, and the larger part.

        What has nearly all of the border is the ground even if a defect is larger.
        """
        return self.border > NEARLY_ALL or min(self.image, self.border) > 0.5


def coverage(mask: Bool[np.ndarray, "h w"]) -> Coverage:
    """Measure what a mask covers."""
    return Coverage(float(mask.mean()), float(border(mask).mean()))


def border(pixels: Shaped[np.ndarray, "h w ..."]) -> Shaped[np.ndarray, "n ..."]:
    """Take the pixels at the border of an image."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def odd_masks(
    name: str, covers: Sequence[Coverage], files: Sequence[Path]
) -> tuple[list[str], list[str]]:
    """Find masks that seem to be inverted, or that mark nearly everything.

    Args:
        name: the class.
        covers: what each of its masks covers.
        files: the masks' files, in the same order.

    Returns:
        A problem, if most of the masks seem to be inverted, and otherwise notes on those that do.
    """
    found = [cover.seems_inverted for cover in covers]
    if 2 * sum(found) > len(covers):
        return [
            f"{sum(found)} of the {len(covers)} masks of {name} mark the larger part of their "
            "image or of its border, as the ground does, so they seem to be inverted; save them "
            "with 0 for good, 255 for defective"
        ], []
    notes = []
    if any(found):
        notes.append(
            f"{name} has {sum(found)} masks that mark the larger part of their image or of its "
            f"border, {files[found.index(True)]} the first: are they inverted? Defects are "
            "expected to be above 0, and the rest 0"
        )
    full = [
        cover.image > NEARLY_ALL and not inverted
        for cover, inverted in zip(covers, found, strict=True)
    ]
    if any(full):
        notes.append(
            f"{name} has {sum(full)} masks that mark more than {NEARLY_ALL:.0%} of their image, "
            f"{files[full.index(True)]} the first: defects are expected to be above 0, and the "
            "rest 0"
        )
    return [], notes
