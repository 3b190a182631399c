"""The bit depth of a data set: decided where its values leave no doubt, asked for elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.checks import check_images, read_checked
from mambaad.data.depth import depth_notes, find_depth, with_reading
from mambaad.data.images import read_sample_image
from mambaad.data.inventory import check_data
from mambaad.data.layouts import read_data
from mambaad.errors import DataError
from mambaad.types import Reading
from tests.conftest import make_parts


@pytest.mark.parametrize(
    ("top", "depth"),
    [
        *((255, 8), (128, 8), (1023, 10), (512, 10), (4095, 12), (2048, 12), (16383, 14)),
        *((8192, 14), (16384, 16), (40000, 16), (65535, 16)),
    ],
)
def test_the_upper_half_of_a_range_decides(top: int, depth: int) -> None:
    assert find_depth({"nut": [top // 2, top]}) == depth
    notes = depth_notes({"nut": [top // 2, top]}, depth)
    assert len(notes) == (depth < 16)
    assert all(f"end at {top}: read as {depth} bits" in note for note in notes)


@pytest.mark.parametrize(
    ("top", "choices"),
    [
        (0, "8, 10, 12, 14 or 16"),
        (127, "8, 10, 12, 14 or 16"),
        (256, "10, 12, 14 or 16"),
        (511, "10, 12, 14 or 16"),
        (2000, "12, 14 or 16"),
        (8191, "14 or 16"),
    ],
)
def test_darker_images_leave_it_open(top: int, choices: str) -> None:
    with pytest.raises(DataError, match=f"end at {top}, .* give --bit-depth {choices}$"):
        find_depth({"nut": [top]})


def test_classes_of_different_cameras_are_refused() -> None:
    assert find_depth({"bolt": [60000], "nut": [9000]}) == 16
    with pytest.raises(DataError, match="values of nut end at 4000, those of bolt at 60000"):
        find_depth({"bolt": [60000], "nut": [4000]})


def test_images_of_another_camera_in_a_class_are_said() -> None:
    highest = {"nut": [60000, 4095, 50000, 3000]}
    assert find_depth(highest) == 16
    (note,) = depth_notes(highest, 16)
    assert note.startswith("2 of the 4 images of 16 bits have no value above 4095, nearly black")


def test_a_hot_pixel_does_not_decide() -> None:
    with pytest.raises(
        DataError, match=r"3 of the 4 images .* end at 4000, .* --bit-depth 12 or 16"
    ):
        find_depth({"nut": [3000, 4000, 65535, 3500]})


def deepened(root: Path, factor: int) -> Path:
    """Store a data set's images, not its masks, as 16 bits."""
    for path in root.glob("*/t*/*/*.png"):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * factor).save(path)
    return root


@pytest.mark.parametrize(("factor", "depth"), [(1, 8), (4, 10), (16, 12), (64, 14), (257, 16)])
def test_a_data_set_is_read_as_if_it_had_8_bits(tmp_path: Path, factor: int, depth: int) -> None:
    plain = make_parts(tmp_path / "plain")
    root = deepened(make_parts(tmp_path / "deep"), factor)
    for c, before in zip(read_checked(root), read_data(plain), strict=True):
        for sample, of_8_bits in zip(c.test, before.test, strict=True):
            assert sample.reading.bit_depth == depth
            grey = np.asarray(Image.open(of_8_bits.path).convert("L")).astype(int)
            image = read_sample_image(sample).astype(int)
            assert abs(image - grey[..., None]).max() <= 1  # 255 x 4 is not quite 1023
    notes = check_data(root).notes
    assert any(f"read as {depth} bits" in note for note in notes) == (depth != 16)


def test_training_says_it_once_and_stops_where_it_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = deepened(make_parts(tmp_path / "parts"), 16)
    read_checked(root)
    assert capsys.readouterr().err.count("read as 12 bits") == 1
    read_checked(root, reading=Reading(12))
    assert "read as" not in capsys.readouterr().err
    dark = deepened(make_parts(tmp_path / "dark"), 1)
    for path in dark.glob("*/t*/*/*.png"):
        Image.fromarray(np.asarray(Image.open(path)) // 4).save(path)
    with pytest.raises(DataError, match="does not say how many bits"):
        read_checked(dark)
    assert any("does not say how many bits" in line for line in check_data(dark).problems)
    assert check_data(dark, reading=Reading(8)).problems == ()


def test_values_beyond_a_given_depth_are_refused(tmp_path: Path) -> None:
    root = deepened(make_parts(tmp_path / "parts"), 16)
    classes = with_reading(read_data(root), Reading(10))
    with pytest.raises(DataError, match=r"expected at most 1023 \(--bit-depth 10\)"):
        check_images(classes)
    problems = check_data(root, reading=Reading(10)).problems
    assert len(problems) == 24


def test_files_of_8_bits_decide_nothing(tmp_path: Path) -> None:
    root = make_parts(tmp_path / "parts")
    (first, *_), _ = check_images(read_data(root))
    assert first.train[0].reading == Reading()
