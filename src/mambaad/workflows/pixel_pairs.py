"""An anomaly map and a mask at one size, so that their pixels can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mambaad.data.masks import (
    lost_regions,
    resize_map,
    resize_mask_bilinear,
    resize_mask_keeping,
)
from mambaad.inspection.stream import Observed
from mambaad.metrics.names import At, Protocol


class PixelPair(NamedTuple):
    """A map and a mask of one size.

    ``mask``: None without one, as of a good part. ``lost``: regions of the mask that had no pixel
    left at that size: under ``exact`` each was given one, under ``ader-paper`` they are gone.
    """

    anomaly_map: Float[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"] | None
    lost: int = 0


def pixel_pair(
    observed: Observed, anomaly_map: Float[np.ndarray, "h w"], protocol: Protocol, at: At
) -> PixelPair:
    """Bring the map of an observed image and its mask to one size.

    Args:
        observed: the image, with its mask.
        anomaly_map: its map, perhaps scaled.
        protocol: how masks are resized to the map's size.
        at: ``"map"``: at the map's size; ``"mask"``: at the image's, the map resized (bilinear).
    """
    mask = observed.mask
    if at == "mask":
        return PixelPair(map_at(observed, anomaly_map, at), mask)
    if mask is None:
        return PixelPair(anomaly_map, None)
    height, width = anomaly_map.shape
    if protocol == "ader-paper":
        resized = resize_mask_bilinear(mask, height, width)
        return PixelPair(anomaly_map, resized, len(lost_regions(mask, resized)))
    return PixelPair(anomaly_map, *resize_mask_keeping(mask, height, width))


def map_at(
    observed: Observed, anomaly_map: Float[np.ndarray, "h w"], at: At
) -> Float[np.ndarray, "h2 w2"]:
    """Bring a map to the size at which pixels are compared, see :func:`pixel_pair`."""
    if at == "map":
        return anomaly_map
    assert observed.pixels is not None  # it was observed
    height, width = observed.pixels.shape[:2]
    return resize_map(anomaly_map, height, width)


def small_regions(name: str, lost: int, first: Path | None, size: tuple[int, int]) -> str:
    """Say, in a line, that regions of a class's masks were given a pixel each.

    Args:
        name: the class.
        lost: how many of its regions had no pixel left.
        first: the first image that has some.
        size: height and width of the map.
    """
    return (
        f"{name}: {lost} regions of masks are too small for the map's size, {size[0]} x {size[1]} "
        f"pixels, and count as one pixel each ({first} the first); --at mask compares at the "
        "masks' own size"
    )
