"""Published multi-class results, in per cent, to compare with.

MVTec AD, VisA and Real-IAD: the tables of MambaAD (He et al., NeurIPS 2024, arXiv 2404.06564),
whose authors ran all systems under one protocol, here called ``ader-paper``, at 256 x 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mambaad.metrics.names import METRICS

_COLUMNS = [m for m in METRICS if m != "mad"]


def _row(text: str) -> dict[str, float]:
    values = dict(zip(_COLUMNS, map(float, text.split()), strict=True))
    return {**values, "mad": sum(values.values()) / len(values)}


# Image AU-ROC, AP, F1-max; pixel AU-ROC, AP, F1-max, AU-PRO.
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "mvtec": {
        "rd4ad": _row("94.6 96.5 95.2 96.1 48.6 53.8 91.1"),
        "uniad": _row("96.5 98.8 96.2 96.8 43.4 49.5 90.7"),
        "mambaad": _row("98.6 99.6 97.8 97.7 56.3 59.2 93.1"),
    },
    "visa": {
        "rd4ad": _row("92.4 92.4 89.6 98.1 38.0 42.6 91.8"),
        "uniad": _row("88.8 90.8 85.8 98.3 33.7 39.0 85.5"),
        "mambaad": _row("94.3 94.5 89.4 98.5 39.4 44.0 91.0"),
    },
    "real-iad": {
        "rd4ad": _row("82.4 79.0 73.9 97.3 25.0 32.7 89.6"),
        "uniad": _row("83.0 80.9 74.3 97.3 21.1 29.2 86.7"),
        "mambaad": _row("86.3 84.6 77.0 98.5 33.0 38.7 90.5"),
    },
    "uni-medical": {"mambaad": _row("83.7 80.1 82.0 96.9 45.4 47.3 87.5")},
    "mvtec-3d": {"mambaad": _row("86.2 95.8 92.8 98.6 37.5 41.1 93.6")},
}
"""By data set and system. COCO-AD's are omitted: means over four splits, a model for each."""

_CLASSES = {"mvtec": 15, "visa": 12, "real-iad": 30, "uni-medical": 3, "mvtec-3d": 10}
_ENCODERS = {"mambaad": "resnet34", "rd4ad": "wide_resnet50_2", "uniad": "tf_efficientnet_b4"}
_PUBLISHED_TRAINING = {"encoder": "resnet34.bt_in1k", "epochs": 500}
"""MambaAD's settings besides the default recipe; those of the others are unpublished."""

_IRRELEVANT = {
    "system",
    "seed",
    "size",
    "devices",
    "cache_features",
    "cache_images",
    "compile",
    "logger",
    "layout",
}


def published(
    known_as: str | None, result: Mapping[str, Any]
) -> tuple[Mapping[str, float] | None, bool]:
    """Find the published figures for a job's result, and whether the two are comparable.

    There are figures for a result with the same protocol and size, all classes, and the same
    encoder architecture. They are comparable, so that their difference is shown, if the training
    is the published one too, which is documented for MambaAD only: the encoder's weights
    (torchvision's first ones, timm's ``resnet34.bt_in1k``), 500 epochs, and nothing else changed.
    """
    settings = result["settings"]
    system = settings.get("system", "mambaad")
    theirs = PUBLISHED.get(known_as or "", {}).get(system)
    encoder = settings.get("encoder", _ENCODERS.get(system, ""))
    if (
        theirs is None
        or "peer" in settings
        or result["protocol"] != "ader-paper"
        or list(result["size"]) != [256, 256]
        or len(result["classes"]) != _CLASSES[str(known_as)]
        or encoder.split(".")[0] != _ENCODERS[system]
    ):
        return None, False
    training = {name: value for name, value in settings.items() if name not in _IRRELEVANT}
    return theirs, system == "mambaad" and training == _PUBLISHED_TRAINING
