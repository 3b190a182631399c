"""The records shared by all parts of the package, with the shapes of their arrays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

MAX_PIXELS = 89_478_485
"""Pixels of an image that may be decoded by default (Pillow's own limit; 0.25 GiB of RGB)."""


@dataclass(frozen=True)
class Reading:
    """The meaning of a data set's pixels: the same in training and at inspection.

    ``bit_depth``: bits in use of pixels that are stored in 16 or 32 bits, 8 to 16: white is
    2 ** bit_depth - 1. None if it was not given and there were none to decide it by: then an image
    is read only where its pixels can have 16 bits alone.
    ``float_range``: the values of black and of white in images of floats; None: there are none.
    ``max_pixels``: images with more are refused.
    """

    bit_depth: int | None = None
    float_range: tuple[float, float] | None = None
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Sample:
    """One image of a data set, not yet decoded.

    ``defect_type``: the name of its folder; ``"good"`` for a good part.
    ``mask_path``: None for a good part, and if the data set has no mask for the image.
    ``more_masks``: further masks of the image, joined with it.
    ``held``: where its pixels and mask are, if in no file (:class:`mambaad.data.parts.Held`); the
    paths are then names, for messages.
    """

    path: Path
    class_name: str
    defect_type: str = "good"
    mask_path: Path | None = None
    reading: Reading = Reading()
    more_masks: tuple[Path, ...] = ()
    held: Any = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is read from."""
        return (self.path, *([self.mask_path] if self.mask_path else ()), *self.more_masks)

    @property
    def is_defective(self) -> bool:
        """Whether the data set labels this part as defective."""
        return self.defect_type != "good"


@dataclass(frozen=True)
class ProductClass:
    """One class of a data set: good parts to train on, good and defective parts to test on."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether there are masks of defects, so that pixel-level metrics are defined."""
        return any(sample.mask_path for sample in self.test)


class Verdict(str, Enum):
    """The decision about a part.

    ``REVIEW``: a person should inspect it. ``UNKNOWN_PRODUCT``: it resembles none of the products
    that the model knows. ``BAD_IMAGE``: the image is blurred, badly exposed or of a wrong size, so
    that no decision is possible.
    """

    PASS = "PASS"
    REVIEW = "REVIEW"
    FAIL = "FAIL"
    UNKNOWN_PRODUCT = "UNKNOWN PRODUCT"
    BAD_IMAGE = "BAD IMAGE"


@dataclass(frozen=True)
class Region:
    """A region of an image that looks defective, in pixels of the original image.

    ``box``: left, top, right, bottom; right and bottom are the first pixels outside.
    ``area_px``; ``area_mm2``: None if the product has no known scale. ``peak``: the highest value
    within of the map that scores go by, at ``peak_at`` (x, y).
    """

    box: tuple[int, int, int, int]
    area_px: float
    area_mm2: float | None
    peak: float
    peak_at: tuple[int, int]
