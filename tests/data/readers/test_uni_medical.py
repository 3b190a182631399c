"""Uni-Medical as ADer distributes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout
from mambaad.data.readers.uni_medical import LAYOUT as UNI_MEDICAL
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage


@pytest.fixture
def medical(tmp_path: Path, write_image: WriteImage) -> Path:
    root = tmp_path / "medical"
    for name in ("brain", "liver", "retinal"):
        for i in range(2):
            write_image(root / name / "train" / "good" / f"{i}.png")
            write_image(root / name / "test" / "good" / f"{i + 2}.png")
            write_image(root / name / "test" / "Ungood" / f"{i + 4}.png")
            write_image(root / name / "ground_truth" / "Ungood" / f"{i + 4}.png", mode="L")
    return root


def test_reads_the_layout(medical: Path) -> None:
    assert find_layout(medical).name == "uni-medical"
    brain, liver, retinal = UNI_MEDICAL.read(medical)
    assert [c.name for c in (brain, liver, retinal)] == ["brain", "liver", "retinal"]
    ill = medical / "liver" / "test" / "Ungood" / "5.png"
    mask = medical / "liver" / "ground_truth" / "Ungood" / "5.png"
    assert Sample(ill, "liver", "Ungood", mask) in liver.test
    assert len(retinal.test) == 4


def test_masks_of_other_names_are_taken_in_order(medical: Path) -> None:
    folder = medical / "brain" / "ground_truth" / "Ungood"
    for i in (4, 5):
        (folder / f"{i}.png").rename(folder / f"label_{i}.png")
    brain, *_ = UNI_MEDICAL.read(medical)
    pairs = [(s.path.name, s.mask_path.name) for s in brain.test if s.mask_path]
    assert pairs == [("4.png", "label_4.png"), ("5.png", "label_5.png")]


def test_not_if_some_have_their_names(medical: Path, complains: Complains) -> None:
    folder = medical / "brain" / "ground_truth" / "Ungood"
    (folder / "4.png").rename(folder / "7.png")
    with complains(medical / "brain" / "test" / "Ungood" / "4.png", "has no mask"):
        UNI_MEDICAL.read(medical)


def test_not_if_they_are_fewer(medical: Path) -> None:
    folder = medical / "brain" / "ground_truth" / "Ungood"
    (folder / "4.png").unlink()
    (folder / "5.png").rename(folder / "7.png")
    first, second, third = check_data(medical, quick=True).problems
    assert "4.png has no mask" in first
    assert "5.png has no mask" in second
    assert "7.png is a mask without an image" in third
