"""Metrics of anomaly detection: pure functions, and the protocols that accumulate over images."""

from mambaad.metrics.ader_paper import ader_pixel_metrics
from mambaad.metrics.pixel import au_pro, pixel_metrics
from mambaad.metrics.protocols import (
    METRICS,
    PROTOCOLS,
    ClassMetrics,
    MetricValues,
    Protocol,
    image_metrics,
    mean_over_classes,
)
from mambaad.metrics.ranking import average_precision, f1_max, roc_auc

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "ClassMetrics",
    "MetricValues",
    "Protocol",
    "ader_pixel_metrics",
    "au_pro",
    "average_precision",
    "f1_max",
    "image_metrics",
    "mean_over_classes",
    "pixel_metrics",
    "roc_auc",
]
