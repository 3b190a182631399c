"""The pixel metrics as published MambaAD numbers were computed (``ader-paper``).

What the authors' evaluation does differently from the definition: few thresholds. For figures to
compare with published ones only; see ``README.md`` for by how much they differ.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from mambaad.metrics.pixel import FPR_LIMIT, RankedPixels

_F1_THRESHOLDS = 21
_PRO_THRESHOLDS = 100


def ader_pixel_metrics(
    maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> dict[str, float | None]:
    """Pixel metrics of one class under the ``ader-paper`` protocol.

    AU-ROC and AP at all thresholds (scikit-learn's values); F1-max over 21 thresholds, 0 to 1, of
    the maps scaled to [0, 1] over the class; AU-PRO over 100 thresholds from the class's minimum
    up, points of a false-positive rate below 0.3 only, their rate stretched to [0, 1].

    Args, returns and errors: see :func:`mambaad.metrics.pixel.pixel_metrics`.
    """
    pixels = RankedPixels.of(maps, masks)
    curve = pixels.curve()
    defined = curve.has_both
    return {
        "pixel_auroc": curve.roc_auc(),
        "pixel_ap": curve.average_precision(),
        "pixel_f1_max": _f1_max(pixels) if defined else None,
        "pixel_aupro": _au_pro(pixels) if defined else None,
    }


def _range(pixels: RankedPixels) -> tuple[float, float]:
    low = min(pixels.normal[0], pixels.anomalous[0])
    return float(low), float(max(pixels.normal[-1], pixels.anomalous[-1]))


def _f1_max(pixels: RankedPixels) -> float:
    low, high = _range(pixels)
    thresholds = low + np.linspace(0, 1, _F1_THRESHOLDS) * (high - low)
    true = len(pixels.anomalous) - np.searchsorted(pixels.anomalous, thresholds, "left")
    false = len(pixels.normal) - np.searchsorted(pixels.normal, thresholds, "left")
    return float((2 * true / (true + false + len(pixels.anomalous))).max())


def _au_pro(pixels: RankedPixels) -> float:
    low, high = _range(pixels)
    # From the highest threshold down, so that the rate grows.
    thresholds = low + np.arange(_PRO_THRESHOLDS)[::-1] / _PRO_THRESHOLDS * (high - low)
    above = len(pixels.anomalous) - np.searchsorted(pixels.anomalous, thresholds, "right")
    false = len(pixels.normal) - np.searchsorted(pixels.normal, thresholds, "right")
    rate = false / len(pixels.normal)
    rate, overlap = rate[rate < FPR_LIMIT], pixels.overlap[above][rate < FPR_LIMIT]
    if len(rate) < 2 or rate[-1] == rate[0]:
        return 0.0  # a map too coarse for 100 thresholds: no area can be measured
    return float(np.trapezoid(overlap, (rate - rate[0]) / (rate[-1] - rate[0])))
