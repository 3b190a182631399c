"""Answers with the fields of Amazon Lookout for Vision, for programs that were written for it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from mambaad.serve.drawing import KeptMap
from mambaad.serve.store.queries import Row

_COLOUR = "#40E0FF"


def lookout_of(row: Row, found: KeptMap | None) -> dict[str, Any]:
    """The answer of ``DetectAnomalies`` for an inspection.

    ``IsAnomalous``: whether the verdict is not PASS; None without one. ``Confidence`` is 1 - p for
    an anomalous part and p for another, p being the share of good parts that score as high.
    ``Anomalies`` has what all regions cover together, and ``AnomalyMask`` them, as a PNG in base64
    of the map's size.
    """
    verdict, p_value = row["verdict"], row["record"]["p_value"]
    anomalous = None if verdict is None else verdict != "PASS"
    confidence = None
    if p_value is not None and anomalous is not None:
        confidence = 1 - p_value if anomalous else p_value
    result: dict[str, Any] = {
        "Source": {"Type": "direct"},
        "IsAnomalous": anomalous,
        "Confidence": confidence,
        "Anomalies": [],
    }
    if found is not None and found.regions.any():
        area = {"TotalPercentageArea": float(found.regions.mean()), "Color": _COLOUR}
        result["Anomalies"] = [{"Name": "defect", "PixelAnomaly": area}]
        file = io.BytesIO()
        colours = np.full((*found.regions.shape, 3), 255, np.uint8)
        colours[found.regions] = tuple(bytes.fromhex(_COLOUR[1:]))
        Image.fromarray(colours).save(file, format="PNG")
        result["AnomalyMask"] = base64.b64encode(file.getvalue()).decode()
    return {"DetectAnomalyResult": result}
