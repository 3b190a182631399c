"""BTAD as distributed: ``ok`` and ``ko``, images and masks of several formats."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout
from mambaad.data.readers.btad import LAYOUT as BTAD
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage


@pytest.fixture
def btad(tmp_path: Path, write_image: WriteImage) -> Path:
    root = tmp_path / "BTech_Dataset_transformed"
    for name, image, mask in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for i in range(2):
            write_image(root / name / "train" / "ok" / f"{i:04}.{image}")
        write_image(root / name / "test" / "ok" / f"0010.{image}", 9)
        write_image(root / name / "test" / "ko" / f"0011.{image}")
        write_image(root / name / "ground_truth" / "ko" / f"0011.{mask}", mode="L")
    return root


def test_reads_the_layout(btad: Path) -> None:
    assert find_layout(btad).name == "btad"
    classes = BTAD.read(btad)
    assert [c.name for c in classes] == ["01", "02", "03"]
    third = btad / "03"
    assert classes[2].train[0] == Sample(third / "train/ok/0000.bmp", "03")
    assert classes[2].test == (
        Sample(third / "test/ko/0011.bmp", "03", "ko", third / "ground_truth/ko/0011.bmp"),
        Sample(third / "test/ok/0010.bmp", "03"),
    )


def test_errors_name_its_folders(btad: Path, complains: Complains) -> None:
    mask = btad / "01" / "ground_truth" / "ko" / "0011.png"
    mask.unlink()
    with complains(btad / "01" / "test" / "ko" / "0011.bmp", "has no mask"):
        BTAD.read(btad)
    (btad / "01" / "train" / "ok" / "0000.bmp").unlink()
    with complains(btad / "01" / "train" / "ok", "has 1 images"):
        BTAD.read(btad)
    with complains(btad, "itself one class"):
        BTAD.read(btad / "01")


def test_check(btad: Path) -> None:
    inventory = check_data(btad, quick=True)
    assert (inventory.layout, inventory.problems, inventory.notes) == ("BTAD", (), ())
    assert inventory.classes[0].test_defective == {"ko": 1}
