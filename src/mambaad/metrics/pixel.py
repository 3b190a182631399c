"""The pixel metrics of one class under the ``exact`` protocol, from one sort of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import label

from mambaad.errors import DataError
from mambaad.metrics.ranking import RankingCurve

FPR_LIMIT = 0.3
_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def pixel_metrics(
    maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> dict[str, float | None]:
    """Pixel AU-ROC, AP, F1-max and AU-PRO over all images of a class, at every threshold.

    Args:
        maps: anomaly maps, float32.
        masks: True where a pixel is anomalous; all False for a good part.

    Returns:
        ``pixel_auroc, pixel_ap, pixel_f1_max, pixel_aupro``, each in [0, 1]; None where there is
        no anomalous pixel or no normal one.

    Raises:
        DataError: a map that holds NaN.
    """
    if np.isnan(maps).any():
        raise DataError("anomaly maps hold NaN, expected numbers; look at the model's output")
    pixels = RankedPixels.of(maps, masks)
    curve = pixels.curve()
    return {
        "pixel_auroc": curve.roc_auc(),
        "pixel_ap": curve.average_precision(),
        "pixel_f1_max": curve.f1_max(),
        "pixel_aupro": _au_pro(curve, pixels),
    }


@dataclass(frozen=True)
class RankedPixels:
    """A class's pixels, sorted.

    Only the few anomalous pixels carry a weight of their own; of the many normal ones the sorted
    scores are enough, which is far cheaper than ranking all pixels together.
    """

    normal: Float[np.ndarray, " n"]
    """Scores of the normal pixels, the lowest first."""
    anomalous: Float[np.ndarray, " p"]
    """Scores of the anomalous pixels, the lowest first."""
    overlap: Float[np.ndarray, " p1"]
    """``[i]``: the per-region overlap, mean over regions, of the i highest anomalous pixels."""

    @classmethod
    def of(cls, maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> RankedPixels:
        """Sort the pixels of a class."""
        scores = maps[masks]
        lowest_first = np.argsort(scores)
        weights = region_weights(masks)[lowest_first]
        overlap = np.concatenate([[0.0], np.cumsum(weights[::-1])])
        return cls(np.sort(maps[~masks]), scores[lowest_first], overlap)

    def curve(self) -> RankingCurve:
        """The ranking at each distinct anomalous score, just above it and at it.

        Between two of these only normal pixels pass, on a straight line of every curve: the
        metrics are those of all distinct scores.
        """
        scores = np.unique(self.anomalous)[::-1]
        true, false = (
            np.stack([len(s) - np.searchsorted(s, scores, side) for side in ("right", "left")], 1)
            for s in (self.anomalous, self.normal)
        )
        true = np.append(true, len(self.anomalous))
        false = np.append(false, len(self.normal))
        some = true + false > 0
        return RankingCurve(true[some], false[some])


def au_pro(maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> float | None:
    """Area under the per-region overlap up to a false-positive rate of 0.3, in [0, 1].

    (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.) Regions are 8-connected;
    every distinct score is a threshold; the curve is cut at exactly 0.3, the last point
    interpolated, and its area divided by 0.3.
    """
    return pixel_metrics(maps, masks)["pixel_aupro"]


def region_weights(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, " p"]:
    """What each anomalous pixel adds to the mean per-region overlap, in the order of ``masks``.

    1 / (its region's area x the number of regions): the overlap's mean over regions at a
    threshold is the sum over the pixels above it.
    """
    weights = [np.empty(0)]
    regions = 0
    for mask in masks:
        if not mask.any():
            continue
        ids, count = label(mask, _EIGHT_CONNECTED)
        areas = np.bincount(ids.ravel())
        weights.append(1 / areas[ids[mask]])
        regions += count
    shares: Float[np.ndarray, " p"] = np.concatenate(weights) / max(regions, 1)
    return shares


def _au_pro(curve: RankingCurve, pixels: RankedPixels) -> float | None:
    if not curve.has_both:
        return None
    overlap = np.concatenate([[0.0], pixels.overlap[curve.true]])
    rate = np.concatenate([[0.0], curve.false / curve.false[-1]])
    inside = int(np.searchsorted(rate, FPR_LIMIT, side="right"))
    ends = slice(inside - 1, inside + 1)
    overlap = np.append(overlap[:inside], np.interp(FPR_LIMIT, rate[ends], overlap[ends]))
    rate = np.append(rate[:inside], FPR_LIMIT)
    return float(min(np.trapezoid(overlap, rate) / FPR_LIMIT, 1.0))
