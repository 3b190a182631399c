"""Every image is decoded before any work starts."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data import images
from mambaad.data.checks import check_images, check_with_progress, read_checked, read_sample
from mambaad.data.decoding import Decoded, decode
from mambaad.data.inventory import check_data
from mambaad.data.layouts import read_data
from mambaad.data.mask_files import read_mask
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.errors import ConfigError
from mambaad.types import ProductClass
from tests.data.conftest import UPRIGHT, Complains, WriteImage
from tests.data.drawn_files import exif


def test_a_sound_data_set_passes_unchanged(dataset: Path) -> None:
    classes = MVTEC.read(dataset)
    told: list[tuple[int, int]] = []
    assert check_images(classes, progress=lambda *done: told.append(done)) == (classes, [])
    assert told == [(i, 9) for i in range(1, 10)]


def test_no_classes_and_test_only_classes(dataset: Path) -> None:
    assert check_images([]) == ([], [])
    only_test = MVTEC.read(dataset, split="test")
    assert check_images(only_test) == (only_test, [])


def test_mixed_sizes(dataset: Path, write_image: WriteImage) -> None:
    write_image(dataset / "nut" / "train" / "good" / "tall.png", 40, 5)
    classes = MVTEC.read(dataset)
    assert check_images(classes) == (classes, [])


@pytest.mark.parametrize("skip", [False, True])
def test_mask_of_another_size(
    dataset: Path, complains: Complains, write_image: WriteImage, skip: bool
) -> None:
    mask = write_image(dataset / "nut" / "ground_truth" / "crack" / "001_mask.png", 12, 8, "L")
    with complains(mask, "12 x 8", "8 x 12", "make the mask again"):
        check_images(MVTEC.read(dataset), skip_unreadable=skip)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_mask_of_a_turned_image_has_the_upright_size(
    dataset: Path, write_image: WriteImage, suffix: str
) -> None:
    from PIL import Image

    crack = dataset / "nut" / "test" / "crack"
    (crack / "001.png").unlink()
    image = Image.new("RGB", (12, 8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(crack / f"001{suffix}", exif=exif)
    write_image(dataset / "nut" / "ground_truth" / "crack" / "001_mask.png", 12, 8, "L")
    check_images(MVTEC.read(dataset))


def test_unreadable_images_stop_it_unless_skipped(dataset: Path, complains: Complains) -> None:
    train = dataset / "nut" / "train" / "good" / "001.png"
    test = dataset / "nut" / "test" / "good" / "000.png"
    for path in (train, test):
        path.write_bytes(path.read_bytes()[:60])
    classes = MVTEC.read(dataset)
    with complains(train, "--skip-unreadable", "and 1 more"):
        check_images(classes)

    (bolt, nut), left_out = check_images(classes, skip_unreadable=True)
    assert bolt == classes[0]
    assert nut == ProductClass(
        "nut",
        tuple(s for s in classes[1].train if s.path != train),
        tuple(s for s in classes[1].test if s.path != test),
    )
    assert [line.split(" ")[0] for line in left_out] == [str(train), str(test)]
    assert not any("\n" in line for line in left_out)


def test_an_image_is_left_out_with_its_unreadable_mask(dataset: Path, complains: Complains) -> None:
    mask = dataset / "nut" / "ground_truth" / "crack" / "000_mask.png"
    mask.write_bytes(b"")
    classes = MVTEC.read(dataset)
    with complains(mask):
        check_images(classes)
    (_, nut), left_out = check_images(classes, skip_unreadable=True)
    assert nut.test == classes[1].test[1:]
    assert len(left_out) == 1


def test_too_few_readable_images(dataset: Path, complains: Complains) -> None:
    folder = dataset / "nut" / "train" / "good"
    for name in ("000.png", "002.png"):
        (folder / name).write_bytes(b"")
    with complains(folder, "class nut has 1 readable", "--classes"):
        check_images(MVTEC.read(dataset), skip_unreadable=True)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that are decoded, in any order."""
    seen: list[Path] = []

    def read(path: Path, max_pixels: int) -> Decoded:
        seen.append(path)
        return decode(path, max_pixels)

    monkeypatch.setattr(images, "decode", read)
    return seen


def test_a_layout_is_read_and_each_image_decoded_once(
    dataset: Path, decoded: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    classes = MVTEC.read(dataset)
    assert read_checked(dataset) == classes
    assert sorted(decoded) == sorted(s.path for c in classes for s in (*c.train, *c.test))
    assert capsys.readouterr().err == ""
    assert read_checked(dataset, ["nut"], split="test", layout="mvtec") == MVTEC.read(
        dataset, ["nut"], split="test"
    )
    with pytest.raises(ConfigError, match="--layout"):
        read_checked(dataset, layout="mine")


def test_images_left_out_are_named(
    dataset: Path, complains: Complains, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = dataset / "nut" / "train" / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with complains(broken, "use --skip-unreadable"):
        read_checked(dataset)
    assert capsys.readouterr().err == ""
    kept = read_checked(dataset, skip_unreadable=True)
    first, count = capsys.readouterr().err.splitlines()
    assert first.startswith(f"left out: {broken} ")
    assert count == "1 unreadable images left out"
    assert [len(c.train) for c in kept] == [3, 2]
    assert check_with_progress(MVTEC.read(dataset), skip_unreadable=True) == kept


def test_warning_filters_survive_the_threads(dataset: Path) -> None:
    before = list(warnings.filters)
    check_images(MVTEC.read(dataset))
    assert warnings.filters == before


def turned(path: Path, orientation: int) -> None:
    """Give a file an orientation, which turns it when it is read."""
    Image.open(path).save(path, exif=exif(orientation))


@pytest.mark.parametrize(
    ("size", "image", "mask", "is_said"),
    [
        ((9, 9), 1, 1, False),
        ((9, 9), 6, 6, False),
        ((9, 9), 6, 1, True),
        ((9, 9), 1, 8, True),  # the reverse
        ((8, 12), 3, 1, True),
        ((8, 12), 2, 4, True),
        ((8, 12), 5, 7, True),
    ],
)
def test_images_and_masks_that_are_turned_apart_are_said(
    dataset: Path, write_image: WriteImage, size, image: int, mask: int, is_said: bool
) -> None:
    nut = dataset / "nut"
    path = write_image(nut / "test" / "crack" / "000.png", *size)
    mask_path = write_image(nut / "ground_truth" / "crack" / "000_mask.png", *size, mode="L")
    upright = read_mask(mask_path)
    turned(path, image)
    turned(mask_path, mask)
    sample = next(s for s in read_data(dataset)[1].test if s.path == path)
    pixels, joined = read_sample(sample)
    # Each is turned as it says itself.
    np.testing.assert_array_equal(pixels, UPRIGHT[image](np.asarray(Image.open(path))))
    np.testing.assert_array_equal(joined.marked, UPRIGHT[mask](upright))
    notes = [line for line in check_data(dataset).notes if "orientation" in line]
    assert len(notes) == is_said
    assert all(str(path) in note for note in notes)


def test_sizes_tell_that_a_mask_was_drawn_on_the_upright_image(
    dataset: Path, write_image: WriteImage, complains: Complains
) -> None:
    path = write_image(dataset / "nut" / "test" / "crack" / "000.png", 8, 12)
    turned(path, 6)
    mask = dataset / "nut" / "ground_truth" / "crack" / "000_mask.png"
    words = ("8 x 12, expected 12 x 8 as its image once that is turned", "orientation is 6")
    with complains(mask, *words, "save 000.png upright"):
        read_checked(dataset)
    write_image(mask, 12, 8, mode="L")
    read_checked(dataset)
    assert not any("orientation" in line for line in check_data(dataset).notes)
