"""Regions that somebody drew on the image of a product, and the mask that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mambaad.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
MOST_SHAPES = 64
_LEAST_AREA = 1e-4  # of the image
_FINE = 4  # sub-pixels a side: a mask's pixel is inside if its centre is, to a quarter


class Shape(BaseModel):
    """A polygon on the image: ``points`` are (x, y) as shares of its width and height."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    kind: Literal["region_of_interest", "ignore"]
    points: tuple[tuple[Share, Share], ...] = Field(min_length=3, max_length=200)

    @model_validator(mode="after")
    def _has_area(self) -> Shape:
        x, y = np.asarray(self.points).T
        if abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 < _LEAST_AREA:
            raise ValueError("a region needs some area")
        return self


def inspected_mask(
    shapes: Sequence[Shape], size: tuple[int, int]
) -> Bool[np.ndarray, "h w"] | None:
    """Make the mask of where defects count; None for everywhere.

    Args:
        shapes: regions of interest, everywhere without one, and ignored ones.
        size: height and width of the anomaly maps.

    Raises:
        ConfigError: nothing is left to inspect.
    """
    if not shapes:
        return None
    region = [shape for shape in shapes if shape.kind == "region_of_interest"]
    inside = _painted(region, size) if region else np.ones(size, dtype=bool)
    inside &= ~_painted([shape for shape in shapes if shape.kind == "ignore"], size)
    if not inside.any():
        raise ConfigError(
            "no part of the image is inspected; enlarge the region of interest, or shrink what is "
            "ignored"
        )
    return inside


def _painted(shapes: Sequence[Shape], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    height, width = size
    canvas = Image.new("L", (width * _FINE, height * _FINE), 0)
    draw = ImageDraw.Draw(canvas)
    for shape in shapes:
        scaled = [(x * width * _FINE - 0.5, y * height * _FINE - 0.5) for x, y in shape.points]
        draw.polygon(scaled, fill=1)
    fine = np.asarray(canvas).reshape(height, _FINE, width, _FINE)
    painted: Bool[np.ndarray, "h w"] = fine.mean(axis=(1, 3)) >= 0.5
    return painted
