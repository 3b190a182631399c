"""The values of masks are read by what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mambaad.data.mask_files import read_mask, read_mask_file
from tests.data.conftest import Complains, noise
from tests.data.drawn_files import exif, packed_bits, tiff

DISC = np.hypot(*(np.mgrid[:64, :80] - np.array([[[30]], [[40]]]))) < 14


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask.png"


@pytest.mark.parametrize("value", [1, 2, 128, 255])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_of_two_values_the_other_than_0_is_the_defect(path: Path, value: int, kind) -> None:
    path = path.with_suffix(".tif") if kind is np.int32 else path
    save(path, (DISC * value).astype(kind))
    np.testing.assert_array_equal(read_mask(path), DISC)


@pytest.mark.parametrize("values", [(1, 2, 3), (1, 2, 255), (60, 120, 180, 240), (7, 9, 200, 250)])
def test_labels_count_above_0(path: Path, values: tuple[int, ...]) -> None:
    labels = np.zeros((64, 80), np.uint8)
    for i, value in enumerate(values):
        labels[5 + 12 * i : 13 + 12 * i, 10:50] = value
        labels[5 + 12 * i, 55:75] = value  # a line of one pixel
    save(path, labels)
    np.testing.assert_array_equal(read_mask(path), labels > 0)


def test_labels_one_inside_the_other(path: Path) -> None:
    labels = np.zeros((64, 80), np.uint8)
    for i in range(6):
        labels[4 + 4 * i : 60 - 4 * i, 10 + 4 * i : 70 - 4 * i] = 40 * (i + 1)
    save(path, labels)
    np.testing.assert_array_equal(read_mask(path), labels > 0)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("value", [255, 200])
def test_a_jpeg_counts_from_half(path: Path, quality: int, value: int) -> None:
    save(path.with_suffix(".jpg"), (DISC * value).astype(np.uint8), quality=quality)
    mask = read_mask(path.with_suffix(".jpg"))
    assert (mask != DISC).mean() < 0.003  # pixels at the very edge
    save(path, np.asarray(Image.open(path.with_suffix(".jpg"))))  # as PNG: the same values
    np.testing.assert_array_equal(read_mask(path), mask)


def test_a_lossy_webp_counts_from_half(path: Path) -> None:
    save(path.with_suffix(".webp"), np.stack([DISC * 255] * 3, 2).astype(np.uint8), quality=50)
    assert (read_mask(path.with_suffix(".webp")) != DISC).mean() < 0.01


def test_labels_in_a_lossy_format_are_refused(path: Path, complains: Complains) -> None:
    labels = (DISC + (np.arange(80) > 40)).astype(np.uint8) * 4
    save(path.with_suffix(".jpg"), labels, quality=95)
    with complains(path.with_suffix(".jpg"), "in a lossy format", "save the mask as PNG"):
        read_mask(path.with_suffix(".jpg"))


def test_a_black_jpeg_is_an_empty_mask(path: Path) -> None:
    save(path.with_suffix(".jpg"), np.zeros((64, 80), np.uint8))
    assert not read_mask(path.with_suffix(".jpg")).any()


def test_smoothed_edges_count_from_half(path: Path) -> None:
    large = Image.new("L", (640, 512))
    ImageDraw.Draw(large).ellipse((200, 150, 420, 380), fill=255)
    smooth = np.asarray(large.resize((80, 64), Image.Resampling.BILINEAR))
    assert len(np.unique(smooth)) > 20
    save(path, smooth)
    np.testing.assert_array_equal(read_mask(path), smooth >= 128)


def test_a_region_that_is_faint_as_a_whole_is_kept(path: Path) -> None:
    levels = np.asarray(Image.fromarray(DISC.astype(np.uint8) * 255).resize((40, 32)))
    levels = levels.copy()
    levels[2, 3:9], levels[2, 9] = 100, 70
    save(path, levels)
    mask = read_mask(path)
    assert mask[2, 3:9].all()
    assert mask[0:6].sum() == 7  # 70 is above half of 100


def test_a_picture_is_no_mask(path: Path, complains: Complains) -> None:
    save(path, noise(40, 40, 3))
    with complains(path, "neither black nor white", "save it as black and white"):
        read_mask(path)


@pytest.mark.parametrize("values", [(1, 2), (3, 200)])
@pytest.mark.parametrize("hole", [False, True])  # pixels that are 0, but not the ground
def test_a_mask_whose_ground_is_not_0_is_refused(
    path: Path, complains: Complains, values, hole
) -> None:
    mask = np.where(DISC, *values).astype(np.uint8)
    mask[5:9, 5:9] *= not hole
    save(path, mask)
    with complains(path, "a ground that is not 0", "0 for good, 255 for defective"):
        read_mask(path)


def rgba(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([colour * np.ones(3, int), alpha]).astype(np.uint8)


FULL = np.full((64, 80, 1), 255)
WHITE_DISC = DISC[..., None] * 255


@pytest.mark.parametrize(
    "pixels",
    [
        rgba(FULL, DISC * 255),  # white, transparent where good
        rgba(FULL * 0, DISC * 255),  # painted in black on nothing
        rgba(FULL * [1, 0, 0], DISC * 255),  # painted in red
        rgba(FULL, DISC * 90),  # a see-through layer
        rgba(WHITE_DISC, DISC * 255),  # both say the same
        rgba(WHITE_DISC, FULL[..., 0]),  # opaque
        rgba(WHITE_DISC, (DISC | (np.arange(80) > 60)) * 255),  # black and opaque elsewhere
        rgba(255 - WHITE_DISC, DISC * 255),  # what cannot be seen is white
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_read_for_what_it_is(path: Path, pixels: np.ndarray, suffix: str) -> None:
    save(path.with_suffix(suffix), pixels)
    np.testing.assert_array_equal(read_mask(path.with_suffix(suffix)), DISC)


def test_grey_with_alpha(path: Path) -> None:
    parts = [Image.fromarray(a.astype(np.uint8)) for a in (FULL[..., 0], DISC * 255)]
    Image.merge("LA", parts).save(path)
    np.testing.assert_array_equal(read_mask(path), DISC)


def test_a_palette_with_a_transparent_colour(path: Path) -> None:
    image = Image.fromarray(DISC.astype(np.uint8))
    image.putpalette([255, 255, 255, 255, 255, 255])
    image.save(path, transparency=0)
    np.testing.assert_array_equal(read_mask(path), DISC)


def test_alpha_that_contradicts_the_colours_is_refused(path: Path, complains: Complains) -> None:
    half = (np.arange(80) > 40) * np.ones((64, 1), int)
    faint = np.where(half, 60, 255)
    for alpha in (faint, np.where(DISC, 0, 255)):
        save(path, rgba(WHITE_DISC, alpha))
        with complains(path, "do not mark the same pixels", "opaque black and white"):
            read_mask(path)


def test_colours_mark_as_grey_does(path: Path) -> None:
    red = np.zeros((64, 80, 3), np.uint8)
    red[DISC, 0] = 255
    red[5:9, 5:9, 2] = 128  # another kind of defect, in blue
    save(path, red)
    np.testing.assert_array_equal(read_mask(path), red.any(axis=2))


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 255), (200, 220, 255)])
@pytest.mark.parametrize("more", ["", "black", "opaque", "hole"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_colours_on_a_ground_that_is_not_black_are_refused(
    path: Path, complains: Complains, ground, more: str, suffix: str
) -> None:
    picture = np.full((64, 80, 4), (*ground, 255), np.uint8)
    picture[DISC] = (255, 0, 0, 255)
    if more == "black":
        picture[5:9, 5:9] = (0, 0, 0, 255)
    if more == "hole":
        picture[5:9, 5:9, 3] = 0
    with_alpha = more in ("opaque", "hole") and suffix != ".jpg"
    path = save(path.with_suffix(suffix), picture[..., : 4 if with_alpha else 3])
    with complains(path, "colours on a ground that is not black", "save it as black and white"):
        read_mask(path)


def test_one_colour_and_black_are_two_values(path: Path) -> None:
    picture = np.zeros((64, 80, 3), np.uint8)
    picture[~DISC] = (255, 0, 0)  # perhaps inverted, but as black and white is
    save(path, picture)
    np.testing.assert_array_equal(read_mask(path), ~DISC)


@pytest.mark.parametrize("scale", [1, 257])
def test_the_value_of_what_is_marked(path: Path, scale: int) -> None:
    kind = np.uint16 if scale > 1 else np.uint8
    save(path, (DISC * 250 * scale).astype(kind))
    assert read_mask_file(path).value == 250 * scale
    save(path, (DISC * 0).astype(kind))
    assert read_mask_file(path).value == 0


def test_a_mask_is_turned_as_it_says_itself(path: Path) -> None:
    save(path, (DISC * 255).astype(np.uint8), exif=exif(6))
    found = read_mask_file(path)
    assert found.orientation == 6
    np.testing.assert_array_equal(found.marked, np.rot90(DISC, -1))


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
def test_white_is_zero(path: Path, bits: int) -> None:
    numbers = np.where(DISC, 0, 2**bits - 1)[..., None]
    whole = numbers.astype("<u2" if bits == 16 else "u1").tobytes()
    data = packed_bits(numbers, bits) if bits % 8 else whole
    path.write_bytes(tiff(data, (64, 80), {258: [bits], 262: [0]}))
    np.testing.assert_array_equal(read_mask(path), DISC)


def test_floats(path: Path, complains: Complains) -> None:
    path = path.with_suffix(".tif")
    save(path, DISC.astype(np.float32))
    np.testing.assert_array_equal(read_mask(path), DISC)
    for value, words in ((np.nan, "not finite"), (-1.0, "below 0")):
        save(path, np.where(DISC, value, 0).astype(np.float32))
        with complains(path, words):
            read_mask(path)
