"""Regions of an image that look defective."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from mambaad.types import Region

_TOUCHING = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are connected too


def find_regions(
    anomaly_map: Float[np.ndarray, "h w"],
    scored_map: Float[np.ndarray, "h w"],
    low: float,
    high: float,
    shape: tuple[int, int],
    *,
    min_area: float = 0.0,
    mm_per_px: float | None = None,
) -> tuple[tuple[Region, ...], Bool[np.ndarray, "h w"]]:
    """Find connected pixels above ``low``, at least one of which scores above ``high``.

    So a part has a region exactly when its score is above ``high`` and the region is large enough,
    and the outline does not depend on ``high``.

    Args:
        anomaly_map: gives the outlines; of any size, minus infinity where defects do not count.
        scored_map: gives the peaks; of the same size, nowhere above the anomaly map.
        low: threshold of the outline; ``high`` is used instead if it is lower.
        high: threshold of the peak.
        shape: height and width of the image; boxes and areas are in its pixels.
        min_area: smaller regions are omitted, in pixels of the image.
        mm_per_px: scale of the image, if known.

    Returns:
        The regions, highest peak first, and a mask of the map's size, True inside them.
    """
    mask = np.zeros(anomaly_map.shape, dtype=bool)
    if scored_map.max() <= high:
        return (), mask
    labels, count = ndimage.label(anomaly_map > min(low, high), _TOUCHING)
    (height, width), (rows, columns) = shape, labels.shape
    pixel = height * width / labels.size
    regions = []
    for number, box in enumerate(ndimage.find_objects(labels, count), start=1):
        inside = labels[box] == number
        values = np.where(inside, scored_map[box], -np.inf)
        row, column = np.unravel_index(values.argmax(), values.shape)
        peak, area = float(values[row, column]), float(inside.sum() * pixel)
        if peak <= high or area < min_area:
            continue
        mask[box] |= inside
        top, left = box[0].start, box[1].start
        regions.append(
            Region(
                # Rounded outwards, so that no box is empty.
                box=(
                    left * width // columns,
                    top * height // rows,
                    -(-box[1].stop * width // columns),
                    -(-box[0].stop * height // rows),
                ),
                area_px=area,
                area_mm2=None if mm_per_px is None else area * mm_per_px**2,
                peak=peak,
                peak_at=(
                    int((2 * (left + column) + 1) * width // (2 * columns)),
                    int((2 * (top + row) + 1) * height // (2 * rows)),
                ),
            )
        )
    return tuple(sorted(regions, key=lambda region: -region.peak)), mask
