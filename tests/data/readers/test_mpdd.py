"""MPDD as distributed: the folders of MVTec AD, under the names of metal parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout
from mambaad.data.readers.mpdd import LAYOUT as MPDD
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage


@pytest.fixture
def mpdd(tmp_path: Path, write_image: WriteImage) -> Path:
    root = tmp_path / "MPDD"
    for name, kind in (("metal_plate", "major_rust"), ("tubes", "anomalous")):
        for i in range(2):
            write_image(root / name / "train" / "good" / f"{i:03}.png")
        write_image(root / name / "test" / "good" / "000.png")
        write_image(root / name / "test" / kind / "000.png")
        write_image(root / name / "ground_truth" / kind / "000_mask.png", mode="L")
    return root


def test_reads_the_layout(mpdd: Path) -> None:
    assert find_layout(mpdd).name == "mpdd"
    plate, tubes = MPDD.read(mpdd)
    assert (len(plate.train), len(tubes.train)) == (2, 2)
    rust = mpdd / "metal_plate" / "test" / "major_rust" / "000.png"
    mask = mpdd / "metal_plate" / "ground_truth" / "major_rust" / "000_mask.png"
    assert Sample(rust, "metal_plate", "major_rust", mask) in plate.test


def test_among_other_classes_it_is_plain_folders(mpdd: Path) -> None:
    (mpdd / "tubes").rename(mpdd / "bolts")
    assert find_layout(mpdd).name == "mvtec"


def test_errors_are_those_of_its_folders(mpdd: Path, complains: Complains) -> None:
    (mpdd / "tubes" / "train" / "good" / "000.png").unlink()
    with complains(mpdd / "tubes" / "train" / "good", "has 1 images"):
        MPDD.read(mpdd)


def test_check_says_which_classes_are_missing(mpdd: Path) -> None:
    (note,) = check_data(mpdd, quick=True).notes
    assert "4 of the 6 classes of MPDD" in note
    assert "bracket_black" in note
