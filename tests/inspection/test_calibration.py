"""Calibrations that are damaged, or of another run, are refused in one line."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mambaad.artifacts.prototypes import Prototypes, save_prototypes
from mambaad.artifacts.tensors import load_tensors, save_tensors
from mambaad.errors import RunError
from mambaad.inference.engine import Observation
from mambaad.inspection.calibration import read_calibration, save_calibration, summarise_part
from mambaad.inspection.product_settings import ProductSettings
from tests.inspection.test_decision import GOOD, PRODUCTS, calibration

SIZE = (8, 12)


def save_products(folder, products=PRODUCTS):
    save_prototypes(
        folder, Prototypes((0.0, 1.0), products, np.zeros((len(products), 4), np.float32))
    )


@pytest.fixture
def saved(tmp_path):
    """A folder with a calibration, and a way of changing what is in it."""
    save_products(tmp_path)
    inspected = np.ones(SIZE, dtype=bool)
    save_calibration(tmp_path, calibration(ProductSettings(0.5, 12.0, inspected)))
    path = tmp_path / "calibration.safetensors"
    tensors, about = load_tensors(path)

    def change(tensor=None, **fields):
        changed, said = dict(tensors), copy.deepcopy(about)
        if tensor:
            changed |= tensor
        for name, value in fields.items():
            *outer, last = name.split("__")
            inner = said["classes"]["bolt"]
            for key in outer:
                inner = inner[key]
            inner[last] = value
        # Whatever type of number a file may hold, also those that NumPy does not have.
        as_written = {name: torch.as_tensor(t) for name, t in changed.items()}
        save_file(as_written, path, {"about": json.dumps(said)})
        return tmp_path

    return change


def test_unchanged_it_is_read(saved):
    calibration = read_calibration(saved(), SIZE)
    assert set(calibration.classes) == set(PRODUCTS)
    assert calibration.format == 2


def test_a_former_format_is_read_and_a_later_one_is_not(saved):
    folder = saved()
    path = folder / "calibration.safetensors"
    tensors, about = load_tensors(path)
    save_tensors(path, tensors, {**about, "format": 1})
    assert read_calibration(folder, SIZE).format == 1
    save_tensors(path, tensors, {**about, "format": 3})
    with pytest.raises(RunError, match="has format 3, this version reads 1 to 2; update mambaad"):
        read_calibration(folder, SIZE)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "fields",
    [
        {"mm_per_px": INF},
        {"mm_per_px": NAN},
        {"mm_per_px": 0},
        {"min_area_px": INF},
        {"min_area_px": -1},
        {"review__value": 9.0},  # above that of FAIL
        {"review__value": NAN},
        {"fail__value": INF},
        {"fail__rate": NAN},
        {"fail__asked": 0},
        {"fail__interval": [0.1, INF]},
        {"outline": NAN},
        {"unknown_beyond": -1},
        {"limits__brightness": [NAN, 3]},
        {"limits__dark": INF},
        {"limits__shapes": [[0, 60]]},
        {"limits__shapes": []},
        {"tensor": {"bolt/scores": torch.tensor(1.0)}},
        {"tensor": {"bolt/scores": torch.zeros(199, dtype=torch.int64)}},
        {"tensor": {"bolt/scores": torch.zeros(199, dtype=torch.bfloat16)}},
        {"tensor": {"bolt/sharpness": torch.full((199,), NAN)}},
        {"tensor": {"bolt/inspected": torch.zeros(SIZE, dtype=torch.uint8)}},
        {"tensor": {"bolt/inspected": torch.ones((3, 3), dtype=torch.uint8)}},
    ],
)
def test_a_damaged_one_is_refused(saved, fields):
    with pytest.raises(RunError, match="is damaged") as caught:
        read_calibration(saved(**fields), SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("products", [("bolt",), ("bolt", "nut", "clip"), ("bolt", "clip"), ()])
def test_that_of_other_products_is_refused(saved, products):
    folder = saved()
    save_products(folder, products)
    with pytest.raises(RunError, match="covers the classes bolt, nut, expected the run's"):
        read_calibration(folder, SIZE)


def test_json_that_is_too_deep_is_refused(tmp_path, monkeypatch):
    save_products(tmp_path)
    monkeypatch.setattr(json, "dumps", lambda about: "[" * 100_000)
    save_tensors(tmp_path / "calibration.safetensors", {"a": np.zeros(1)})
    with pytest.raises(RunError, match="is damaged or absent"):
        read_calibration(tmp_path, SIZE)


def test_of_many_maps_a_sample_from_all_of_each_is_kept():
    columns = np.arange(256, dtype=np.float32)
    a_map = np.tile(columns, (256, 1))
    inspected = a_map >= 128
    observation = Observation(255.0, a_map, np.zeros(2))
    for count in (1, 64, 256, 4096):
        part = summarise_part(observation, GOOD, ProductSettings(inspected=inspected), count)
        assert part.score == 255
        assert count * part.pixels.size <= 2**22
        assert set(part.pixels) == set(columns[128:])
        assert part.pixels.base is None  # the whole map is let go
    everything = summarise_part(observation, GOOD, ProductSettings(), 64)
    assert everything.pixels.size == 2**16  # no need to leave any out
