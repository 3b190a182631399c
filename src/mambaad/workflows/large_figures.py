"""Figures of large images in tiles: small defects, which other figures hardly show."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy import ndimage

from mambaad.data.masks import resize_mask_keeping
from mambaad.data.tiling import Tiling
from mambaad.inspection.stream import Observed
from mambaad.metrics.saturated import SaturatedOverlap

LIMIT = 0.05
AREAS = (0, 100, 300, 1000)
"""Pixels of a defect at which a class of areas begins; the last has no end."""
_TOUCHING = np.ones((3, 3), dtype=bool)
_NEAR = 2  # cells of the map around a defect in which its peak may lie


class LargeFigures:
    """AU-PRO up to 0.05, and recall of defects by their area at the threshold of FAIL.

    A defect is an 8-connected region of a mask. It is found where the scored map within its box, or
    up to two cells around it, is above the threshold; how many good parts are, verdicts say.

    Args:
        tiling: in which the images are seen.
        thresholds: of the classes that are calibrated; the others have no recall.
    """

    def __init__(self, tiling: Tiling, thresholds: dict[str, float]) -> None:
        self._tiling = tiling
        self._thresholds = thresholds
        self._overlaps: dict[str, SaturatedOverlap] = {}
        self._found: dict[str, list[tuple[int, bool]]] = {}

    def add(self, image: Observed) -> None:
        """Add an image."""
        observation, _ = image.result
        assert image.item.sample is not None  # evaluation takes data sets only
        name, anomaly_map = image.item.sample.class_name, observation.anomaly_map
        overlap = self._overlaps.setdefault(name, SaturatedOverlap())
        if image.mask is None:
            overlap.add(anomaly_map, [])
            return
        mask, _ = resize_mask_keeping(image.mask, *anomaly_map.shape)
        regions, count = ndimage.label(mask, _TOUCHING)
        parts = [regions == number for number in range(1, count + 1)]
        overlap.add(anomaly_map, [(part, float(part.sum())) for part in parts])
        if name in self._thresholds:
            above = observation.scored_map > self._thresholds[name]
            self._found.setdefault(name, []).extend(_defects(image.mask, above))

    def values(self) -> dict[str, dict[str, float | None]]:
        """Compute the figures of each class, in [0, 1]; None where undefined."""
        values: dict[str, dict[str, float | None]] = {}
        for name, overlap in self._overlaps.items():
            values[name] = {"AU-PRO 0.05": overlap.area(LIMIT)}
            for low, high in pairwise((*AREAS, np.inf)):
                hits = [hit for area, hit in self._found.get(name, []) if low < area <= high]
                title = f"recall to {high} px" if high < np.inf else f"over {low} px"
                values[name][title] = sum(hits) / len(hits) if hits else None
        return values

    def notes(self) -> Iterator[str]:
        """Say, a line each, what a reader of the figures should know."""
        yield (
            f"images of more than {self._tiling.size} pixels were seen in tiles ({self._tiling}), "
            "and their maps have one value for 4 x 4 pixels"
        )
        counts = []
        for low, high in pairwise((*AREAS, np.inf)):
            found = [a for areas in self._found.values() for a, _ in areas if low < a <= high]
            counts.append(f"{len(found)} {f'to {high}' if high < np.inf else f'over {low}'} px")
        if self._found:
            yield f"recall: of defects by their area, at the threshold of FAIL: {', '.join(counts)}"


def _defects(mask: np.ndarray, above: np.ndarray) -> list[tuple[int, bool]]:
    """The area of each defect in pixels of the image, and whether the map is above there."""
    labels, count = ndimage.label(mask, _TOUCHING)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    found = []
    for area, box in zip(areas.tolist(), ndimage.find_objects(labels, count), strict=True):
        near = tuple(
            slice(
                max(side.start * cells // pixels - _NEAR, 0),
                -(-side.stop * cells // pixels) + _NEAR,
            )
            for side, cells, pixels in zip(box, above.shape, mask.shape, strict=True)
        )
        found.append((int(area), bool(above[near].any())))
    return found
