"""The saturated per-region overlap (sPRO) of MVTec LOCO AD, and AU-PRO up to any rate."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from mambaad.metrics.pixel_scores import SortedChunks


class SaturatedOverlap:
    """Collects images, and computes the area under the sPRO curve exactly.

    The sPRO of a threshold is the mean over all regions of min(n / s, 1), with n the pixels of the
    region at or above it, and s the region's saturation: from so many found pixels on it counts as
    found (Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, equation 2). With s the area of
    the region it is the per-region overlap (PRO). It is drawn against the share of normal pixels,
    those in no region, at or above the threshold.
    """

    def __init__(self) -> None:
        self._normal = SortedChunks()
        self._scores: list[Float[np.ndarray, " n"]] = []
        self._gains: list[Float[np.ndarray, " n"]] = []

    def add(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        regions: Iterable[tuple[Bool[np.ndarray, "h w"], float]],
    ) -> None:
        """Add an image.

        Args:
            anomaly_map: float32, without NaN.
            regions: of defects, which may overlap, each with its saturation in pixels, above 0.
                Regions without a pixel are left out.
        """
        normal = np.ones(anomaly_map.shape, dtype=bool)
        for region, saturation in regions:
            normal &= ~region
            scores = np.sort(anomaly_map[region].astype(np.float32))[::-1]
            if not len(scores):
                continue
            found = np.minimum(np.arange(len(scores) + 1) / min(saturation, len(scores)), 1)
            self._scores.append(scores)
            self._gains.append(np.diff(found))
        self._normal.add(anomaly_map[normal].astype(np.float32))

    def area(self, limit: float) -> float | None:
        """Compute the area up to a false-positive rate, divided by it; None where undefined.

        Between two neighbouring scores of defects the curve is flat, within ties a straight line;
        the last point is interpolated.
        """
        if not self._scores or not self._normal.size:
            return None
        scores = np.concatenate(self._scores)
        order = np.argsort(-scores, kind="stable")
        scores, gains = scores[order], np.concatenate(self._gains)[order]
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
        overlap = np.cumsum(gains)[last] / len(self._gains)
        before = np.append(0, overlap[:-1])
        ascending = scores[last][::-1]
        above = self._normal.count_above(ascending, or_equal=False)[::-1]
        at_least = self._normal.count_above(ascending, or_equal=True)[::-1]
        most = limit * self._normal.size
        ends = np.append(above[1:], self._normal.size)
        tied = np.minimum(at_least, most) - np.minimum(above, most)
        rise = (overlap - before) * tied / np.maximum(at_least - above, 1)
        flat = np.minimum(ends, most) - np.minimum(at_least, most)
        total = (tied * (before + rise / 2)).sum() + (flat * overlap).sum()
        return float(min(total / most, 1.0))
