"""The names of the metrics and of the protocols that compute them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Protocol = Literal["exact", "ader-paper"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro")
METRICS = (*IMAGE_METRICS, *PIXEL_METRICS, "mad")
HEADINGS: Mapping[str, str] = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1_max": "P-F1",
    "pixel_aupro": "AU-PRO",
    "mad": "mAD",
}
"""The column heading of each of ``METRICS``."""

MetricValues = dict[str, float | None]
"""A value in [0, 1], or None where it is not defined, for each of ``METRICS``."""
