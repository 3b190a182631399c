"""The metrics of a class under either evaluation protocol, and their means over the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from mambaad.metrics.ader_paper import published_pixel_metrics
from mambaad.metrics.names import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    MetricValues,
    Protocol,
)
from mambaad.metrics.pixel import exact_pixel_metrics
from mambaad.metrics.pixel_scores import PixelScores
from mambaad.metrics.ranking import RankingCurve


def image_metrics(scores: Sequence[float], labels: Sequence[bool]) -> MetricValues:
    """Compute image AU-ROC, AP and F1-max; ``labels`` are True for defective parts.

    Raises:
        DataError: a score that is NaN.
    """
    curve = RankingCurve.of(np.array(scores, dtype=np.float64), np.array(labels, dtype=bool))
    return dict(
        zip(
            IMAGE_METRICS,
            (curve.roc_auc(), curve.average_precision(), curve.f1_max()),
            strict=True,
        )
    )


def mean_over_classes(classes: Sequence[Mapping[str, float | None]]) -> MetricValues:
    """Average each metric over the classes that have it; ``mad`` is the mean of the averages.

    These are the means of published tables.
    """
    means: MetricValues = {}
    for name in (*IMAGE_METRICS, *PIXEL_METRICS):
        values = [v for c in classes if (v := c[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
    return _with_mad(means)


def _with_mad(values: MetricValues) -> MetricValues:
    known = [v for v in values.values() if v is not None]
    return {**values, "mad": float(np.mean(known)) if len(known) == len(values) else None}


class ClassMetrics:
    """Collects the images of one class, then computes its metrics.

    It takes up to 0.3 GiB of memory and 40 bytes an anomalous pixel, however many normal pixels
    there are: their scores go to a temporary file, 4 bytes each (see
    :mod:`mambaad.metrics.pixel_scores`).

    Args:
        protocol: ``"exact"`` or ``"ader-paper"`` (see ``metrics/README.md``).
        has_masks: whether the class has masks of its defects; without them only its image metrics
            are defined.
    """

    def __init__(self, protocol: Protocol, has_masks: bool) -> None:
        self.protocol = protocol
        self.has_masks = has_masks
        self.scores: list[float] = []
        self.labels: list[bool] = []
        self._pixels = PixelScores()

    def update(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        score: float,
        is_defective: bool,
        mask: Bool[np.ndarray, "h w"] | None = None,
    ) -> None:
        """Add one image.

        Args:
            anomaly_map: float32; the higher, the more anomalous.
            score: the image score.
            is_defective: the data set's label.
            mask: of the map's size, True where anomalous; None for a good part.

        Raises:
            DataError: a map that holds NaN.
        """
        if self.has_masks:
            if mask is None:
                mask = np.zeros(anomaly_map.shape, dtype=bool)
            self._pixels.add(np.asarray(anomaly_map, dtype=np.float32), mask)
            if self.protocol == "ader-paper":
                # As published: an image whose defect vanished in resizing counts as good.
                is_defective = bool(mask.any())
        self.scores.append(float(score))
        self.labels.append(is_defective)

    def compute(self) -> MetricValues:
        """Compute the seven metrics of the class and their mean, ``mad``.

        Raises:
            DataError: a score that is NaN.
        """
        values = image_metrics(self.scores, self.labels)
        if self.has_masks:
            exact = self.protocol == "exact"
            values |= (exact_pixel_metrics if exact else published_pixel_metrics)(self._pixels)
        else:
            values |= dict.fromkeys(PIXEL_METRICS)
        return _with_mad(values)
