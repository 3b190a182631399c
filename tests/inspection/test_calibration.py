"""Calibrations that are damaged, or of another run, are refused in one line."""

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

from mambaad.artifacts.manifest import CALIBRATION, PROTOTYPES
from mambaad.artifacts.prototypes import Prototypes, prototypes_content
from mambaad.artifacts.tensors import parse_tensors
from mambaad.errors import RunError
from mambaad.inference.engine import Observation
from mambaad.inspection.calibration import calibration_content, read_calibration, summarise_part
from mambaad.inspection.product_settings import ProductSettings
from tests.inspection.test_decision import GOOD, PRODUCTS, calibration
from tests.runs import change as change_run
from tests.runs import change_tensors, read, tensors

SIZE = (8, 12)


def save_products(folder, products=PRODUCTS):
    means = np.zeros((len(products), 4), np.float32)
    change_run(folder, {PROTOTYPES: prototypes_content(Prototypes((0.0, 1.0), products, means))})


@pytest.fixture
def saved(tmp_path):
    """A folder with a calibration, and a way of changing what is in it."""
    save_products(tmp_path)
    inspected = np.ones(SIZE, dtype=bool)
    sound = calibration_content(calibration(ProductSettings(0.5, 12.0, inspected)))
    arrays, about = parse_tensors(bytearray().join(sound), CALIBRATION)

    def change(tensor=None, **fields):
        changed, said = dict(arrays), copy.deepcopy(about)
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
        change_run(tmp_path, {CALIBRATION: save(as_written, {"about": json.dumps(said)})})
        return tmp_path

    return change


def test_unchanged_it_is_read(saved):
    calibration = read(read_calibration, saved(), SIZE)
    assert set(calibration.classes) == set(PRODUCTS)
    assert calibration.format == 2


def test_a_former_format_is_read_and_a_later_one_is_not(saved):
    folder = saved()
    arrays, about = tensors(folder, CALIBRATION)
    change_tensors(folder, CALIBRATION, arrays, {**about, "format": 1})
    assert read(read_calibration, folder, SIZE).format == 1
    change_tensors(folder, CALIBRATION, arrays, {**about, "format": 3})
    with pytest.raises(RunError, match="has format 3, this version reads 1 to 2; update mambaad"):
        read(read_calibration, folder, SIZE)


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
        read(read_calibration, saved(**fields), SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("products", [("bolt",), ("bolt", "nut", "clip"), ("bolt", "clip"), ()])
def test_that_of_other_products_is_refused(saved, products):
    folder = saved()
    save_products(folder, products)
    with pytest.raises(RunError, match="covers the classes bolt, nut, expected the run's"):
        read(read_calibration, folder, SIZE)


def test_json_that_is_too_deep_is_refused(tmp_path):
    save_products(tmp_path)
    deep = {"about": "[" * 100_000}
    change_run(tmp_path, {CALIBRATION: save({"a": torch.zeros(1)}, deep)})
    with pytest.raises(RunError, match="is damaged"):
        read(read_calibration, tmp_path, SIZE)


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
