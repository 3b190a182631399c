"""The proposal of a layout reads trees of many forms whole, or names what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mambaad.cli.app import app
from mambaad.data.guess import guess
from mambaad.data.inventory import check_data
from mambaad.data.layouts import read_data
from mambaad.errors import DataError
from tests.data.readers.test_described import draw

N = range(6)
DAYS = ("2024-05-01", "2024-05-02")
TREES = {
    "other names": (
        [f"line/Training/OK/{i}.png" for i in range(3)]
        + ["line/Testing/OK/3.png", "line/Testing/NG/4.png", "line/masks/NG/4_seg.png"],
        {'train: ["{class}/Training/OK"]', 'mask_suffixes: ["_seg"]'},
    ),
    "masks among the tests": (
        [f"line/train/normal/{i}.png" for i in range(3)]
        + ["line/test/normal/3.png", "line/test/hole/4.png", "line/test/gt/hole/4.png"],
        {'masks: ["{class}/test/gt/{type}"]', 'mask_suffixes: [""]'},
    ),
    "masks beside the images": (
        [f"train/good/{i}.png" for i in range(3)]
        + ["test/good/3.png", "test/hole/4.png", "test/hole/4_GT.png"],
        {'train: ["train/good"]', 'masks: ["{folder}"]', 'mask_suffixes: ["_gt"]'},
    ),
    "training images in no sub-folder": (
        [f"line/train/{i}.png" for i in range(3)]
        + ["line/test/good/3.png", "line/test/hole/4.png"],
        {'train: ["{class}/train"]', 'test: ["{class}/test/{type}"]'},
    ),
    "flat": (
        [f"a/0_ok/{i}.png" for i in range(10)] + ["a/dent/1.png", "a/mask/dent/1_label.png"],
        {'train: ["{class}/0_ok"]', 'test: ["{class}/{type}"]', "test_share: 0.2"},
    ),
    "flat, without classes": (
        [f"normal/{i}.png" for i in range(5)] + ["dent/1.png", "mask/1.png"],
        {'train: ["normal"]', 'masks: ["mask"]', 'good: ["normal"]'},
    ),
    "OK and NG": (
        [f"OK/{i}.png" for i in N] + ["NG/1.png"],
        {'train: ["OK"]', 'test: ["NG"]'},
    ),
    "days below good and bad": (
        [f"{kind}/{day}/{i}.png" for kind in ("good", "bad") for day in DAYS for i in N],
        {'train: ["good"]', 'test: ["bad"]'},
    ),
    "good and bad below days, with masks": (
        [f"{day}/{kind}/{i}.png" for kind in ("good", "bad", "masks") for day in DAYS for i in N],
        {'train: ["*/good"]', 'test: ["*/{type}"]', 'masks: ["{folder}/../masks"]'},
    ),
    "masks say which images are defective": (
        [f"images/{i}.png" for i in N] + ["labels/4_GT.png", "labels/5_GT.png"],
        {
            'train: ["images"]',
            'masks: ["labels"]',
            'mask_suffixes: ["_gt"]',
            'defective_if: "mask"',
        },
    ),
    "the same, in parts": (
        [f"images/{part}/{i}.png" for part in ("train", "test") for i in N]
        + ["labels/test/4.png", "labels/test/5.png"],
        {'train: ["images/train"]', 'test: ["images/test"]', 'masks: ["labels/{type}"]'},
    ),
    "the same, the other way round": (
        [f"{part}/images/{i}.png" for part in ("train", "test") for i in N]
        + ["test/masks/4.png", "test/masks/5.png"],
        {'train: ["train/images"]', 'test: ["test/images"]', 'defective_if: "mask"'},
    ),
    "one folder of good parts, by number": (
        [f"train/0/{i}.png" for i in N] + ["test/0/6.png", "test/1/7.png"],
        {'train: ["train/0"]', 'test: ["test/{type}"]', 'good: ["0"]'},
    ),
    "classes by number": (
        [f"{c}/ok/{i}.png" for c in ("1", "02") for i in N] + ["1/3/7.png", "02/no/7.png"],
        {'train: ["{class}/ok"]', 'test: ["{class}/{type}"]'},
    ),
    "in German": (
        [f"Geha\u0308use/Gut/{i}.png" for i in N]
        + ["Geha\u0308use/Kratzer/1.png", "Geha\u0308use/Masken/Kratzer/1_maske.png"],
        {'train: ["{class}/Gut"]', 'masks: ["{class}/Masken/{type}"]', 'mask_suffixes: ["_maske"]'},
    ),
    "in Chinese": (
        [f"螺丝/合格/{i}.png" for i in N] + ["螺丝/划痕/1.png", "螺丝/掩码/1.png"],
        {'train: ["{class}/合格"]', 'masks: ["{class}/掩码"]'},
    ),
    "masks in each folder of defects": (
        [f"good/{i}.png" for i in N]
        + [f"{kind}/{name}1.png" for kind in ("dent", "hole") for name in ("", "mask/")],
        {'masks: ["{folder}/mask"]'},
    ),
    "all masks in one tree": (
        [f"{c}/good/{i}.png" for c in "ab" for i in N]
        + [f"{c}/bad/1.png" for c in "ab"]
        + [f"masks/{c}/1.png" for c in "ab"],
        {'train: ["{class}/good"]', 'masks: ["masks/{class}"]'},
    ),
    "masks beside the images of each class": (
        [f"{c}/{i}.png" for c in "ab" for i in range(8)] + [f"{c}/1_mask.png" for c in "ab"],
        {'train: ["{class}"]', 'masks: ["{folder}"]', 'defective_if: "mask"'},
    ),
    "parts below kinds": (
        [f"good/train/{i}.png" for i in N] + ["good/test/7.png", "bad/test/8.png"],
        {'train: ["good/train"]', 'test: ["{type}/test"]'},
    ),
    "good parts by two names": (
        [f"{c}/{i}.png" for c in ("a/good", "b/OK") for i in N] + ["a/bad/1.png", "b/NG/1.png"],
        {'train: ["{class}/OK", "{class}/good"]'},
    ),
    "lines above classes": (
        [f"line 1/{c}/ok/{i}.png" for c in "ab" for i in N] + ["line 1/a/ng/1.png"],
        {'train: ["*/{class}/ok"]'},
    ),
    "a product called label": (
        [f"{c}/train/good/{i}.png" for c in ("cap", "label", "nut") for i in N]
        + [
            f"{c}/{p}/hole/7.png" for c in ("cap", "label", "nut") for p in ("test", "ground_truth")
        ],
        {'train: ["{class}/train/good"]', 'masks: ["{class}/ground_truth/{type}"]'},
    ),
    "names with braces": (
        [f"good/{i}.png" for i in N] + ["{bad}/1.png", "*/1.png"],
        {'train: ["good"]', 'test: ["{type}"]'},
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_proposal_reads_all(name: str, tmp_path: Path) -> None:
    files, lines = TREES[name]
    root = tmp_path / "parts"
    draw(root, *files)
    found = guess(root)
    assert (found.read, found.present, found.problems) == (len(files), len(files), ())
    assert lines <= set(found.to_yaml().splitlines())
    (tmp_path / "layout.yaml").write_text(found.to_yaml(), encoding="utf-8")
    assert tuple(read_data(root, layout=str(tmp_path / "layout.yaml"))) == found.classes
    if any("mask" in line for line in lines):
        assert all(s.mask_path for c in found.classes for s in c.test if s.is_defective)


def test_every_image_may_have_a_mask_that_is_empty_for_good_parts(tmp_path: Path) -> None:
    draw(tmp_path, *(f"images/{i}.png" for i in N), "masks/5.png")
    draw(tmp_path, *(f"masks/{i}.png" for i in range(5)), marked=False)
    found = guess(tmp_path)
    assert 'defective_if: "marked"' in found.to_yaml()
    assert (found.read, len(found.unread)) == (7, 5)  # masks of good parts are not needed
    assert [s.path.name for c in found.classes for s in c.test if s.is_defective] == ["5.png"]


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    root = tmp_path / "parts"
    draw(root, *(f"{part}/gut/{i}.png" for part in ("train", "val") for i in N))
    draw(root, "test/gut/7.png", "test/kratzer/8.png", "train/gut/masks/9.png")
    found = guess(root)
    named = [one.path for one in found.unread if one.kind == "unused image"]
    assert (found.read, len(named), found.present) == (8, 7, 15)
    shutil.copyfile(root / "test/gut/7.png", root / "7.gif")
    file = tmp_path / "mine.yaml"
    result = CliRunner().invoke(app, ["data", "guess", str(root), "--out", str(file)])
    assert result.exit_code == 0
    assert "reads 8 of 15 images\nnot read: 7 unused images, 1 .gif\n" in result.output
    assert f"{root / 'val'} (6 files) is not read" in result.output
    assert "kratzer 1" in result.output
    assert check_data(root, layout=str(file), quick=True).problems == ()


def test_no_proposal(tmp_path: Path) -> None:
    draw(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(DataError, match=r"its folders: a, b.*write a layout by hand"):
        guess(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        guess(tmp_path / "gone")
