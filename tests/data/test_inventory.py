"""Everything that can be wrong with a data set is named, not the first thing only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.checks import check_masks
from mambaad.data.inventory import check_data
from mambaad.data.layouts import read_data
from mambaad.errors import ConfigError, DataError
from tests.data.conftest import WriteImage

HALF = np.repeat([[255], [0]], 4, axis=0) * np.ones((1, 12))
"""A mask whose upper half is a defect."""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """One class without anything to remark on."""
    root = tmp_path / "parts"
    random = np.random.default_rng(0)
    folders = {"train/good": 3, "test/good": 2, "test/dent": 1, "test/crack": 2}
    for folder, count in folders.items():
        for i in range(count):
            kind = folder.removeprefix("test/")
            save(root / "nut" / folder / f"{i:03}.png", random.integers(0, 256, (8, 12, 3)))
            if kind in ("dent", "crack"):
                path = root / "nut" / "ground_truth" / kind / f"{i:03}_mask.png"
                save(path, HALF)
    return root


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_counts(sound: Path) -> None:
    told: list[tuple[int, int]] = []
    inventory = check_data(sound, progress=lambda *done: told.append(done))
    assert (inventory.layout, inventory.problems, inventory.notes) == ("MVTec AD", (), ())
    assert told == [(i, 8) for i in range(1, 9)]
    assert inventory.to_rows() == [
        ["class", "train", "test good", "test defective", "masks", "types"],
        ["nut", "3", "2", "3", "3", "crack 2, dent 1"],
        ["all", "3", "2", "3", "3", ""],
    ]
    (counts,) = json.loads(inventory.to_json())["classes"]
    assert counts == {
        "name": "nut",
        "train_good": 3,
        "train_defective": {},
        "test_good": 2,
        "test_defective": {"crack": 2, "dent": 1},
        "masks": 3,
    }


def test_every_problem_is_named(sound: Path, write_image: WriteImage) -> None:
    nut = sound / "nut"
    missing = nut / "ground_truth" / "crack" / "000_mask.png"
    missing.unlink()
    lonely = write_image(nut / "ground_truth" / "crack" / "009_mask.png", mode="L")
    small = save(nut / "ground_truth" / "dent" / "000_mask.png", np.eye(4, 6) * 255)
    empty, broken = nut / "train" / "good" / "000.png", nut / "test" / "good" / "000.png"
    empty.write_bytes(b"")
    broken.write_bytes(broken.read_bytes()[:60])
    twin = nut / "test" / "good" / "001.png"
    shutil.copy(nut / "train" / "good" / "001.png", twin)
    problems = check_data(sound).problems
    expected = {
        nut / "test" / "crack" / "000.png": "has no mask",
        lonely: "without an image",
        small: "is 4 x 6, expected 8 x 12",
        empty: "has no bytes",
        broken: "cannot be read as an image",
        twin: f"is the same image as {nut / 'train' / 'good' / '001.png'}",
    }
    assert len(problems) == len(expected)
    for path, part in expected.items():
        assert any(line.startswith(str(path)) and part in line for line in problems), path
    assert not any("\n" in line for line in problems)
    assert len(check_data(sound, quick=True).problems) == 2


def test_what_is_odd_is_noted(sound: Path) -> None:
    nut = sound / "nut"
    shutil.copy(nut / "train" / "good" / "001.png", nut / "train" / "good" / "007.png")
    shutil.copytree(nut / "test" / "dent", nut / "train" / "dent")
    save(nut / "validation" / "000.png", np.full((8, 12, 3), 7))
    save(nut / "test" / "good" / "002.png", np.full((20, 9, 3), 7))
    save(nut / "ground_truth" / "dent" / "000_mask.png", np.zeros((8, 12)))
    save(sound / "bolt" / "Train" / "good" / "000.png", np.full((8, 12, 3), 7))
    inventory = check_data(sound)
    assert inventory.problems == ()
    assert len(inventory.notes) == 6
    for part in (
        f"{sound / 'bolt'} (1 files) is not read: the layout of MVTec AD has <class>/train/good",
        f"{nut / 'validation'} (1 files) is not read",
        f"{nut / 'train' / 'dent'} (1 files) is not read",
        "1 training images more than once",
        "images of 2 sizes (height x width), 8 x 12 to 20 x 9",
        "1 defective images whose mask is empty",
    ):
        assert any(part in note for note in inventory.notes), part


@pytest.mark.parametrize(
    ("gone", "note"),
    [
        (("ground_truth",), "has no masks"),
        (("test", "ground_truth"), "has no test images"),
        (("test/good",), "only defective test images"),
        (("test/dent", "test/crack", "ground_truth"), "no defective test images"),
    ],
)
def test_what_evaluation_will_lack(sound: Path, gone: tuple[str, ...], note: str) -> None:
    for folder in gone:
        shutil.rmtree(sound / "nut" / folder)
    (only,) = check_data(sound).notes
    assert note in only


def test_what_masks_and_alpha_say(sound: Path) -> None:
    nut = sound / "nut"
    see_through = np.random.default_rng(1).integers(0, 256, (8, 12, 4))
    save(nut / "train" / "good" / "001.png", see_through)
    full = save(nut / "ground_truth" / "dent" / "000_mask.png", np.full((8, 12), 255))
    inventory = check_data(sound)
    assert inventory.problems == ()
    assert [note.split(", ")[0] for note in inventory.notes] == [
        "nut has 1 images that are transparent in places",
        "nut has 1 masks that mark the larger part of their image or of its border",
    ]
    assert str(full) in inventory.notes[1]
    for i in range(2):
        save(nut / "ground_truth" / "crack" / f"{i:03}_mask.png", np.full((8, 12), 255))
    (problem,) = check_data(sound).problems
    assert problem.startswith("3 of the 3 masks of nut mark the larger part of their image or")
    save(full, np.where(HALF > 0, 2, 1))
    (problem,) = (line for line in check_data(sound).problems if str(full) in line)
    assert "a ground that is not 0" in problem


def test_unreadable_images_are_not_twins(sound: Path) -> None:
    for path in (sound / "nut" / "train" / "good" / "000.png", sound / "nut/test/good/000.png"):
        path.write_bytes(b"")
    assert [line.split(" has ")[1] for line in check_data(sound).problems] == [
        "no bytes; download it again"
    ] * 2


def test_too_few_to_train_on_is_a_problem(sound: Path) -> None:
    shutil.rmtree(sound / "nut" / "train")
    (problem,) = check_data(sound).problems
    assert "has 0 images, expected at least 2" in problem


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no classes"):
        check_data(tmp_path)
    with pytest.raises(ConfigError, match="--layout"):
        check_data(tmp_path, layout="mine")


def test_real_classes(real_data: Path) -> None:
    inventory = check_data(real_data, quick=True)
    assert inventory.problems == ()
    assert inventory.to_rows()[-1][1] == "1363"


def test_a_defect_without_a_mask_is_a_problem_in_every_layout(tmp_path: Path) -> None:
    images, masks = tmp_path / "nut/Data/Images", tmp_path / "nut/Data/Masks/Anomaly"
    rows = ["object,split,label,image,mask"]
    for i in range(7):
        kind = "Normal" if i < 4 else "Anomaly"
        random = np.random.default_rng(i).integers(0, 256, (8, 12, 3))
        image = save(images / kind / f"{i}.png", random)
        mask = "" if i < 5 else str(save(masks / f"{i}.png", HALF).relative_to(tmp_path))
        split = "train" if i < 3 else "test"
        label = "normal" if i < 4 else "anomaly"
        rows.append(f"nut,{split},{label},{image.relative_to(tmp_path)},{mask}")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    for quick in (False, True):
        (problem,) = check_data(tmp_path, quick=quick).problems
        assert problem.startswith(f"{images / 'Anomaly' / '4.png'} has no mask, as other")
    with pytest.raises(DataError, match="has no mask, as 1 of the defective images of nut"):
        check_masks(read_data(tmp_path))


def test_sub_folders_called_against_their_label_are_noted(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for i, place in enumerate(("train/good", "train/good/NG", "test/hole/ok", "test/good/day 1")):
        write_image(tmp_path / "nut" / place / f"{i}.png", 8 + i)
        write_image(tmp_path / "nut" / place / f"{i}0.png", 18 + i)
    notes = [n for n in check_data(tmp_path, quick=True).notes if "sub-folders" in n]
    assert len(notes) == 2
    assert "2 defective images in sub-folders called as those of good parts" in notes[0]
    assert "2 good images in sub-folders called as those of defective parts" in notes[1]
