"""The names of the metrics and of the protocols that compute them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from mambaad.errors import ConfigError

Protocol = Literal["exact", "ader-paper"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
At = Literal["map", "mask"]
PLACES: tuple[At, ...] = get_args(At)
"""Where pixels are compared: at the anomaly map's size, or at that of the masks."""

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


def check_place(at: str, protocol: str) -> None:
    """Refuse an unknown place to compare at, or one that the protocol lacks (ConfigError)."""
    if at not in PLACES:
        raise ConfigError(f"--at: expected one of {', '.join(PLACES)}, got '{at}'")
    if at == "mask" and protocol == "ader-paper":
        raise ConfigError(
            "--at mask: ader-paper is defined at the map's size; omit it, or give --protocol exact"
        )
