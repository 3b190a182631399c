"""The pixel metrics as published MambaAD numbers were computed (``ader-paper``).

The authors' evaluation uses few thresholds where the definitions use all of them. Use it only to
compare with published figures; ``README.md`` says by how much the two differ.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from mambaad.metrics.pixel import FPR_LIMIT, exact_pixel_metrics, pixel_scores
from mambaad.metrics.pixel_scores import PixelScores

_F1_THRESHOLDS = 21
_PRO_THRESHOLDS = 100


def ader_pixel_metrics(
    maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> dict[str, float | None]:
    """Compute :func:`published_pixel_metrics` of images that are in memory.

    Args and errors: see :func:`mambaad.metrics.pixel.pixel_metrics`.
    """
    return published_pixel_metrics(pixel_scores(maps, masks))


def published_pixel_metrics(pixels: PixelScores) -> dict[str, float | None]:
    """Compute the pixel metrics of one class under the ``ader-paper`` protocol.

    AU-ROC and AP at all thresholds (scikit-learn's values); F1-max over 21 thresholds, 0 to 1, of
    the maps scaled to [0, 1] over the class, pixels strictly above; AU-PRO over 100 thresholds from
    the class's minimum up, of which those with a false-positive rate below 0.3 count, the rates
    rescaled to [0, 1].

    Maps of one value only have an F1-max of 0, and with fewer than two thresholds below the limit
    AU-PRO is 0; ADer's own evaluation raises, or gives NaN, where nothing is above any threshold.

    Returns: see :func:`mambaad.metrics.pixel.exact_pixel_metrics`.
    """
    values = exact_pixel_metrics(pixels)
    if values["pixel_auroc"] is None:
        return values
    scores, overlap = pixels.anomalous()
    low = min(pixels.normal.low, float(scores[-1]))
    high = max(pixels.normal.high, float(scores[0]))
    return {
        **values,
        "pixel_f1_max": _f1_max(pixels, scores[::-1], low, high),
        "pixel_aupro": _au_pro(pixels, scores[::-1], overlap, low, high),
    }


def _f1_max(
    pixels: PixelScores, anomalous: Float[np.ndarray, " p"], low: float, high: float
) -> float:
    thresholds = low + np.linspace(0, 1, _F1_THRESHOLDS) * (high - low)
    true = len(anomalous) - np.searchsorted(anomalous, thresholds, "right")
    false = pixels.normal.count_above(thresholds, or_equal=False)
    return float((2 * true / (true + false + len(anomalous))).max())


def _au_pro(
    pixels: PixelScores,
    anomalous: Float[np.ndarray, " p"],
    overlap: Float[np.ndarray, " p1"],
    low: float,
    high: float,
) -> float:
    # From the highest threshold down, so that the rate grows.
    thresholds = low + np.arange(_PRO_THRESHOLDS)[::-1] / _PRO_THRESHOLDS * (high - low)
    above = len(anomalous) - np.searchsorted(anomalous, thresholds, "right")
    rate = pixels.normal.count_above(thresholds, or_equal=False) / pixels.normal.size
    rate, overlap = rate[rate < FPR_LIMIT], overlap[above][rate < FPR_LIMIT]
    if len(rate) < 2 or rate[-1] == rate[0]:
        return 0.0  # too few points below the limit to measure an area
    return float(np.trapezoid(overlap, (rate - rate[0]) / (rate[-1] - rate[0])))
