"""The pixel metrics of one class under the ``exact`` protocol: all thresholds count."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from mambaad.metrics.pixel_scores import PixelScores

FPR_LIMIT = 0.3
_BLOCK = 2**20


def pixel_metrics(
    maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> dict[str, float | None]:
    """Compute :func:`exact_pixel_metrics` of images that are in memory.

    Args:
        maps: anomaly maps, float32.
        masks: True where a pixel is anomalous; all False for a good part.

    Raises:
        DataError: a map that holds NaN.
    """
    return exact_pixel_metrics(pixel_scores(maps, masks))


def exact_pixel_metrics(pixels: PixelScores) -> dict[str, float | None]:
    """Compute pixel AU-ROC, AP, F1-max and AU-PRO over all images of a class, exactly.

    Between two neighbouring scores of anomalous pixels every curve is a straight line, as a falling
    threshold passes normal pixels only: the distinct anomalous scores s are enough. With T of the P
    anomalous pixels at or above s, F of the N normal ones at or above it, and F' above it:

    - AU-ROC: the sum over s of (T - T before) (N - (F + F') / 2) / (P N), ties counted half;
    - AP: the sum over s of (T - T before) / P times T / (T + F);
    - F1-max: the largest 2 T / (T + F + P);
    - AU-PRO: the area under the per-region overlap up to a false-positive rate of 0.3 (Bergmann et
      al., "The MVTec Anomaly Detection Dataset", IJCV 2021), regions 8-connected, the last point
      interpolated, divided by 0.3.

    Returns:
        ``pixel_auroc, pixel_ap, pixel_f1_max, pixel_aupro``, each in [0, 1]; None where there is
        no anomalous pixel or no normal one.
    """
    scores, overlap = pixels.anomalous()
    positives, negatives = len(scores), pixels.normal.size
    if not positives or not negatives:
        return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro"))
    last_of_ties = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    ascending = scores[last_of_ties][::-1]  # sorted, so that lookups are local
    above = pixels.normal.count_above(ascending, or_equal=False)[::-1]
    at_least = pixels.normal.count_above(ascending, or_equal=True)[::-1]

    limit = FPR_LIMIT * negatives
    roc = precision = pro = best_f1 = 0.0
    true_before, false_before = 0, 0
    for start in range(0, len(last_of_ties), _BLOCK):  # to bound the memory of temporaries
        block = slice(start, start + _BLOCK)
        true = last_of_ties[block] + 1
        before = np.append(true_before, true[:-1])
        gain = true - before
        f, f_above = at_least[block], above[block]
        f_before = np.append(false_before, f[:-1])
        roc += float((gain * (negatives - (f + f_above) / 2)).sum())
        precision += float((gain * (true / (true + f))).sum())
        best_f1 = max(best_f1, float((2 * true / (true + f + positives)).max()))

        flat = np.minimum(f_above, limit) - np.minimum(f_before, limit)
        ties = np.minimum(f, limit) - np.minimum(f_above, limit)
        rise = (overlap[true] - overlap[before]) * ties / np.maximum(f - f_above, 1)
        pro += float((flat * overlap[before] + ties * (overlap[before] + rise / 2)).sum())
        true_before, false_before = int(true[-1]), int(f[-1])
    pro += max(limit - false_before, 0.0) * float(overlap[-1])
    return {
        "pixel_auroc": roc / (positives * negatives),
        "pixel_ap": precision / positives,
        "pixel_f1_max": best_f1,
        "pixel_aupro": min(pro / limit, 1.0),
    }


def au_pro(maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> float | None:
    """AU-PRO of float32 maps for masks (True: anomalous), in [0, 1]; None if undefined."""
    return pixel_metrics(maps, masks)["pixel_aupro"]


def pixel_scores(maps: Float[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> PixelScores:
    """Collect the pixels of images that are in memory."""
    pixels = PixelScores()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        pixels.add(anomaly_map, mask)
    return pixels
