"""Figures of small defects in large images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mambaad.data.tiling import Tiling
from mambaad.inference.engine import Observation
from mambaad.inspection.quality import measure_quality
from mambaad.inspection.stream import Item, Observed
from mambaad.metrics.pixel import pixel_metrics
from mambaad.types import Sample
from mambaad.workflows.large_figures import LargeFigures


def observed(anomaly_map: np.ndarray, mask: np.ndarray | None) -> Observed:
    """An image of 256 x 256 pixels with this map."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    observation = Observation(float(anomaly_map.max()), anomaly_map, np.zeros(1, np.float32))
    item = Item(Path("a.png"), sample=Sample(Path("a.png"), "belt", "hole"))
    return Observed(item, pixels, mask, measure_quality(pixels, (256, 256)), observation)


def test_recall_is_by_area_at_the_threshold() -> None:
    mask = np.zeros((256, 256), dtype=bool)
    mask[8:16, 8:16] = True  # 64 pixels, found
    mask[100:108, 8:16] = True  # 64, missed
    mask[100:116, 100:116] = True  # 256, found nearby
    mask[200:240, 200:240] = True  # 1600, missed
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[3, 3] = 0.9
    anomaly_map[24, 30] = 0.9  # one cell beside it
    anomaly_map[52, 52] = 0.4
    figures = LargeFigures(Tiling(128, 64), {"belt": 0.5})
    figures.add(observed(anomaly_map, mask))
    figures.add(observed(np.zeros((64, 64), np.float32), None))
    values = figures.values()["belt"]
    assert values["recall to 100 px"] == 0.5
    assert values["recall to 300 px"] == 1
    assert values["recall to 1000 px"] is None
    assert values["over 1000 px"] == 0
    notes = list(figures.notes())
    assert "128:64" in notes[0]
    assert notes[1].endswith("2 to 100 px, 1 to 300 px, 0 to 1000 px, 1 over 1000 px")


def test_aupro_is_that_of_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    maps = random.random((3, 64, 64), dtype=np.float32)
    masks = np.zeros((3, 64, 64), dtype=bool)
    masks[0, 5:9, 5:9] = masks[0, 30:40, 30:33] = masks[1, 50:52, 2:30] = True
    maps[masks] += 0.5
    figures = LargeFigures(Tiling(128, 64), {})
    for anomaly_map, mask in zip(maps, masks, strict=True):
        large = mask.repeat(4, axis=0).repeat(4, axis=1)
        figures.add(observed(anomaly_map, large if mask.any() else None))
    monkeypatch.setattr("mambaad.metrics.pixel.FPR_LIMIT", 0.05)
    expected = pixel_metrics(maps, masks)["pixel_aupro"]
    assert figures.values()["belt"]["AU-PRO 0.05"] == pytest.approx(expected)
    assert figures.values()["belt"]["recall to 100 px"] is None
