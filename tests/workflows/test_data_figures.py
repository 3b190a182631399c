"""The figures that data sets have of their own, on observations made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import DataError
from mambaad.inference.engine import Observation
from mambaad.inspection.quality import measure_quality
from mambaad.inspection.stream import Item, Observed
from mambaad.types import Sample
from mambaad.workflows.data_figures import (
    AD2Figures,
    LocoFigures,
    RealIADFigures,
    read_saturations,
    to_rows,
)

_QUALITY = measure_quality(np.zeros((4, 5, 3), np.uint8), (4, 5))


def observed(sample: Sample, score: float, anomaly_map=None, mask=None) -> Observed:
    found = np.zeros((4, 5), np.float32) if anomaly_map is None else anomaly_map
    observation = Observation(score, found, np.zeros(0, np.float32))
    return Observed(Item.of(sample), mask=mask, quality=_QUALITY, observation=observation)


def test_loco(tmp_path: Path) -> None:
    (tmp_path / "screw_bag").mkdir()
    kinds = [
        {"pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True},
        {"pixel_value": 250, "saturation_threshold": 2, "relative_saturation": False},
    ]
    (tmp_path / "screw_bag" / "defects_config.json").write_text(json.dumps(kinds))
    folder = tmp_path / "screw_bag" / "test"
    figures = LocoFigures()
    figures.add(observed(Sample(folder / "good" / "0.png", "screw_bag"), 0.2))
    anomaly_map = np.zeros((4, 5), np.float32)
    anomaly_map[1, :2] = 1  # two of the region's four pixels
    for kind, value, score in (("logical_anomalies", 250, 0.9), ("structural_anomalies", 255, 0.1)):
        mask = np.zeros((8, 10), np.uint8)  # twice the map's size: two pixels are eight... of four
        mask[2:4, :8] = value
        path = tmp_path / f"{kind}.png"
        Image.fromarray(mask).save(path)
        sample = Sample(folder / kind / "0.png", "screw_bag", kind, path)
        figures.add(observed(sample, score, anomaly_map))
    values = figures.values()["screw_bag"]
    assert (values["I-AUROC logical"], values["I-AUROC structural"]) == (1, 0)
    assert values["I-AUROC mean"] == 0.5
    # 2 of 16 pixels saturate the logical one, which is half a pixel of the map: found at once.
    assert values["AU-sPRO logical"] == pytest.approx(1)
    assert values["AU-sPRO structural"] == pytest.approx(0.5 + 0.5 * 0.05 / 2)
    assert to_rows(figures.values())[0][0] == "class"
    (tmp_path / "bad.json").write_text("[{}]")
    with pytest.raises(DataError, match="does not list kinds of defects"):
        read_saturations(tmp_path / "bad.json")


def test_mvtec_ad_2() -> None:
    mask = np.zeros((4, 5), bool)
    mask[0, :4] = True
    anomaly_map = np.zeros((4, 5), np.float32)
    anomaly_map[0, :2] = anomaly_map[3, 0] = 1
    figures = AD2Figures({"can": 0.5})
    sample = Sample(Path("can/test_public/bad/0.png"), "can", "bad", Path("0_mask.png"))
    figures.add(observed(sample, 1.0, anomaly_map, mask))
    figures.add(observed(Sample(Path("can/test_public/good/0.png"), "can"), 0.0))
    values = figures.values()["can"]
    assert values["seg F1"] == pytest.approx(2 * 2 / (3 + 4))
    # One of 36 normal pixels ties with the half that is found; the rest is a line to the corner.
    rate = 1 / 36
    area = rate * 0.25 + (0.05 - rate) * (0.5 + 0.5 * ((0.05 - rate) / (1 - rate)) / 2)
    assert values["AU-PRO 0.05"] == pytest.approx(area / 0.05)
    assert AD2Figures({}).values() == {}


def test_real_iad() -> None:
    figures = RealIADFigures()
    scores = {  # part: (score, is it a defect that this view shows) of two views
        "OK/S0001": [(0.1, False), (0.5, False)],
        "NG/HS/S0002": [(0.2, False), (0.9, True)],
        "NG/HS/S0003": [(0.3, True), (0.4, False)],
    }
    for folder, views in scores.items():
        for number, (score, defective) in enumerate(views, start=1):
            path = Path(f"toy/{folder}/toy_0001_C{number}_2023.jpg")
            figures.add(observed(Sample(path, "toy", "HS" if defective else "good"), score))
    values = figures.values()["toy"]
    assert values["I-AUROC C1"] == values["I-AUROC C2"] == values["views' mean"] == 1
    assert values["S-AUROC"] == 0.5  # 0.9 is above the good part's 0.5, 0.4 below it
