"""MVTec 3D-AD as distributed: colour images, masks and point clouds by type."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout, read_data
from mambaad.data.readers.mvtec_3d import LAYOUT as MVTEC_3D
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage


@pytest.fixture
def mvtec_3d(tmp_path: Path, write_image: WriteImage) -> Path:
    root = tmp_path / "mvtec_3d_anomaly_detection"
    for name in ("bagel", "tire"):
        counts = {"train/good": 2, "validation/good": 1, "test/good": 1, "test/hole": 2}
        for folder, count in counts.items():
            for i in range(count):
                write_image(root / name / folder / "rgb" / f"{i:03}.png")
                write_image(root / name / folder / "xyz" / f"{i:03}.tiff")
                if folder.startswith("test"):
                    write_image(root / name / folder / "gt" / f"{i:03}.png", mode="L")
        (root / name / "calibration").mkdir()
        (root / name / "calibration" / "camera_parameters.json").write_text("{}")
    return root


def test_reads_the_layout(mvtec_3d: Path) -> None:
    assert find_layout(mvtec_3d).name == "mvtec-3d"
    bagel, tire = MVTEC_3D.read(mvtec_3d)
    folder = mvtec_3d / "bagel"
    assert bagel.train == (
        Sample(folder / "train/good/rgb/000.png", "bagel"),
        Sample(folder / "train/good/rgb/001.png", "bagel"),
        Sample(folder / "validation/good/rgb/000.png", "bagel"),
    )
    hole = folder / "test" / "hole"
    assert bagel.test == (
        Sample(folder / "test/good/rgb/000.png", "bagel"),
        Sample(hole / "rgb/000.png", "bagel", "hole", hole / "gt/000.png"),
        Sample(hole / "rgb/001.png", "bagel", "hole", hole / "gt/001.png"),
    )
    assert tire.name == "tire"


def test_for_testing(mvtec_3d: Path) -> None:
    shutil.rmtree(mvtec_3d / "tire" / "train")
    classes = read_data(mvtec_3d, split="test")
    assert [(c.name, c.train, len(c.test)) for c in classes] == [("bagel", (), 3), ("tire", (), 3)]


def test_a_missing_mask(mvtec_3d: Path, complains: Complains) -> None:
    mask = mvtec_3d / "tire" / "test" / "hole" / "gt" / "001.png"
    mask.unlink()
    with complains(mask, "has no mask"):
        MVTEC_3D.read(mvtec_3d)


def test_a_mask_without_an_image(mvtec_3d: Path, complains: Complains) -> None:
    (mvtec_3d / "tire" / "test" / "hole" / "rgb" / "001.png").unlink()
    with complains(mvtec_3d / "tire/test/hole/gt/001.png", "without an image"):
        MVTEC_3D.read(mvtec_3d)


def test_too_few_to_train_on(mvtec_3d: Path, complains: Complains) -> None:
    for part in ("train", "validation"):
        for path in (mvtec_3d / "bagel" / part / "good" / "rgb").iterdir():
            path.unlink()
    with complains(mvtec_3d / "bagel/train/good/rgb", "has 0 images", "--classes"):
        MVTEC_3D.read(mvtec_3d)


def test_check(mvtec_3d: Path) -> None:
    inventory = check_data(mvtec_3d, quick=True)
    assert inventory.problems == ()
    assert len(inventory.notes) == 1  # eight further classes
    assert inventory.to_rows()[-1] == ["all", "6", "2", "4", "4", ""]
