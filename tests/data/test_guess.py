"""The proposal of a layout reads trees of several forms whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.guess import guess
from mambaad.data.layouts import read_data
from mambaad.errors import DataError
from tests.data.readers.test_described import draw

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
}


@pytest.mark.parametrize("name", TREES)
def test_a_proposal_reads_all(name: str, tmp_path: Path) -> None:
    files, lines = TREES[name]
    root = tmp_path / "parts"
    draw(root, *files)
    found = guess(root)
    assert (found.read, found.present, found.problems) == (len(files), len(files), ())
    assert lines <= set(found.to_yaml().splitlines())
    (tmp_path / "layout.yaml").write_text(found.to_yaml())
    assert tuple(read_data(root, layout=str(tmp_path / "layout.yaml"))) == found.classes
    if any("mask" in line for line in lines):
        assert all(s.mask_path for c in found.classes for s in c.test if s.is_defective)


def test_no_proposal(tmp_path: Path) -> None:
    draw(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(DataError, match="write a layout by hand"):
        guess(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        guess(tmp_path / "gone")
