"""The figures that data sets have of their own, on observations made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import DataError
from mambaad.inference.engine import Observation
from mambaad.inspection.quality import measure_quality
from mambaad.inspection.stream import Item, Observed
from mambaad.types import Reading, Sample
from mambaad.workflows.data_figures import (
    AD2Figures,
    LocoFigures,
    RealIADFigures,
    read_saturations,
    to_rows,
)

_QUALITY = measure_quality(np.zeros((4, 5, 3), np.uint8), (4, 5))


def observed(sample: Sample, score: float, anomaly_map=None, mask=None, size=(4, 5)) -> Observed:
    found = np.zeros((4, 5), np.float32) if anomaly_map is None else anomaly_map
    observation = Observation(score, found, np.zeros(0, np.float32))
    pixels = np.zeros((*size, 3), np.uint8)
    return Observed(Item.of(sample), pixels, mask, _QUALITY, observation)


def test_loco(tmp_path: Path) -> None:
    (tmp_path / "screw_bag").mkdir()
    kinds = [
        {"pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True},
        {"pixel_value": 250, "saturation_threshold": 2, "relative_saturation": False},
    ]
    (tmp_path / "screw_bag" / "defects_config.json").write_text(json.dumps(kinds))
    folder = tmp_path / "screw_bag" / "test"
    figures = LocoFigures(tmp_path)
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
    assert list(figures.notes()) == []
    (tmp_path / "bad.json").write_text("[{}]")
    with pytest.raises(DataError, match="does not list kinds of defects"):
        read_saturations(tmp_path / "bad.json")


LARGE = (40, 50)
"""Ten times the map's size."""


@pytest.fixture
def screws(tmp_path: Path) -> Path:
    """A class of LOCO, whose defects of the value 250 are found from two pixels on."""
    kinds = [{"pixel_value": 250, "saturation_threshold": 2, "relative_saturation": False}]
    folder = tmp_path / "screws"
    folder.mkdir()
    (folder / "defects_config.json").write_text(json.dumps(kinds))
    return folder


def loco_sample(folder: Path, mask: Image.Image, name: str = "0", **options: object) -> Sample:
    path = folder / "ground_truth" / "logical_anomalies" / name / "000.png"
    path.parent.mkdir(parents=True)
    mask.save(path, **options)
    image = folder / "test" / "logical_anomalies" / f"{name}.png"
    return Sample(image, "screws", "logical_anomalies", path)


def two_pixels() -> np.ndarray:
    """A region with no pixel at the map's size: nearest pixels are those of rows 5, 15, ..."""
    mask = np.zeros(LARGE, np.uint8)
    mask[21, 31:33] = 250
    return mask


def peak() -> np.ndarray:
    anomaly_map = np.arange(20, dtype=np.float32).reshape(4, 5) ** 1.5 / 1000  # hardly any ties
    anomaly_map[2, 3] = 1
    return anomaly_map


def test_a_region_too_small_for_the_map_keeps_a_pixel_and_is_named(screws: Path) -> None:
    sample = loco_sample(screws, Image.fromarray(two_pixels()))
    at_map, at_mask = LocoFigures(screws.parent), LocoFigures(screws.parent, "mask")
    ad2 = AD2Figures({"screws": 0.5}), AD2Figures({"screws": 0.5}, "mask")
    mask = two_pixels() > 0
    for figures in (at_map, at_mask, *ad2):
        figures.add(observed(sample, 1.0, peak(), mask, LARGE))
    for figures in (at_map, ad2[0]):
        (note,) = figures.notes()
        assert note.startswith("screws: 1 regions of masks are too small for the map's size, 4 x 5")
        assert str(sample.path) in note
    assert list(at_mask.notes()) == list(ad2[1].notes()) == []
    # At the map's size the region is the one pixel that is above all others.
    assert at_map.values()["screws"]["AU-sPRO logical"] == pytest.approx(1)
    assert ad2[0].values()["screws"] == {"AU-PRO 0.05": pytest.approx(1), "seg F1": 1.0}
    # At the mask's, what the formula gives for the resized map: of a region that is found whole
    # by its lower pixel, the false positives above each of the two.
    grown = np.asarray(Image.fromarray(peak()).resize((50, 40), Image.Resampling.BILINEAR))
    rates = [float((grown[~mask] > value).mean()) for value in sorted(grown[mask])[::-1]]
    assert all(0 < rate < 0.05 for rate in rates)
    expected = sum(0.5 * (0.05 - rate) / 0.05 for rate in rates)
    for figure in (
        at_mask.values()["screws"]["AU-sPRO logical"],
        ad2[1].values()["screws"]["AU-PRO 0.05"],
    ):
        assert figure == pytest.approx(expected, abs=0.002)
    above = grown > 0.5
    f1 = 2 * (above & mask).sum() / (above.sum() + mask.sum())
    assert ad2[1].values()["screws"]["seg F1"] == pytest.approx(f1)


def test_saturation_of_images_in_sub_folders_and_of_masks_of_any_kind(screws: Path) -> None:
    grey = np.where(np.arange(50) < 20, 250, 0) * np.ones((40, 1))
    half = np.zeros((4, 5), np.float32)
    half[0, 0] = 1  # one of the eight pixels of the map: 100 of 800, of which 2 are enough
    palette = Image.fromarray((grey > 0).astype(np.uint8))
    palette.putpalette([0, 0, 0, 250, 250, 250])
    alpha = np.dstack([np.full((*LARGE, 3), 250), np.where(grey, 255, 0)]).astype(np.uint8)
    masks = {
        "day/0": Image.fromarray(grey.astype(np.uint8)),
        "palette": palette,
        "alpha": Image.fromarray(alpha),
        "wide": Image.fromarray(grey.astype(np.uint16)),
    }
    for name, mask in masks.items():
        figures = LocoFigures(screws.parent)
        figures.add(observed(loco_sample(screws, mask, name), 1.0, half))
        assert list(figures.notes()) == [], name
        # The first pixel saturates it: 1/50 of the region is a sixth of a pixel of the map.
        assert figures.values()["screws"]["AU-sPRO logical"] == pytest.approx(1), name


def test_a_region_without_a_threshold_has_to_be_found_whole_and_is_named(screws: Path) -> None:
    sample = loco_sample(screws, Image.fromarray((two_pixels() > 0) * np.uint8(77)))
    figures = LocoFigures(screws.parent)
    figures.add(observed(sample, 1.0))
    empty = loco_sample(screws, Image.fromarray(two_pixels() * 0), "empty")  # is no region
    figures.add(observed(empty, 1.0))
    (_, note) = figures.notes()
    assert note.startswith("screws: 1 regions have no saturation threshold in defects_config.json")
    assert str(sample.mask_path) in note
    (screws / "defects_config.json").unlink()
    figures = LocoFigures(screws.parent)
    figures.add(observed(loco_sample(screws, Image.fromarray(two_pixels()), "1"), 1.0))
    assert "1 regions have no saturation threshold" in list(figures.notes())[1]


def test_masks_of_too_many_pixels_are_refused(screws: Path) -> None:
    sample = loco_sample(screws, Image.fromarray(two_pixels()))
    sample = replace(sample, reading=Reading(max_pixels=1000))
    with pytest.raises(DataError, match="--max-pixels 2000"):
        LocoFigures(screws.parent).add(observed(sample, 1.0))


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
