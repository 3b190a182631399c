"""Every format and pixel type, orientations, and files that are no images."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from mambaad.data.decoding import decode
from mambaad.data.images import read_image, resize_image
from mambaad.data.mask_files import read_mask
from mambaad.errors import DataError
from mambaad.types import Reading
from tests.data.conftest import UPRIGHT, Complains, WriteImage, noise

RGB = noise(6, 10, 3)
GREY = RGB[..., 0]
ALPHA = RGB[..., 1]
LOSSLESS = {".png": {}, ".bmp": {}, ".tif": {}, ".tiff": {}, ".webp": {"lossless": True}}


def repeated(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


def rounded(deep: np.ndarray) -> np.ndarray:
    """16 bits -> 8, in floating point."""
    return np.rint(deep / 65535 * 255).astype(np.uint8)


def write_deep_png(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit RGB PNG, which Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_deep_tiff(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit RGB TIFF, which Pillow cannot write: one strip, little endian."""
    height, width, _ = pixels.shape
    data = pixels.astype("<u2").tobytes()
    bits = 8 + len(data)
    short, long = 3, 4
    tags = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, bits),
        (259, short, 1, 1),  # no compression
        (262, short, 1, 2),  # RGB
        (273, long, 1, 8),
        (277, short, 1, 3),
        (278, long, 1, height),
        (279, long, 1, len(data)),
    ]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    head = b"II*\0" + struct.pack("<I", bits + 6)
    path.write_bytes(head + data + struct.pack("<3H", 16, 16, 16) + directory)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_rgb_comes_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RGB).save(path, **LOSSLESS[suffix])
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_rgb_is_close(tmp_path: Path, suffix: str) -> None:
    smooth = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).save(tmp_path / f"a{suffix}", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}"), smooth, atol=4)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_is_repeated(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), repeated(GREY))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_one_bit_is_black_and_white(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY > 127).save(tmp_path / f"a{suffix}")
    expected = repeated(np.where(GREY > 127, 255, 0))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_transparency_is_dropped(tmp_path: Path, suffix: str) -> None:
    rgba = np.dstack([RGB, np.maximum(ALPHA, 1)])  # WebP forgets colours that cannot be seen
    Image.fromarray(rgba).save(tmp_path / f"a{suffix}", **LOSSLESS[suffix])
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparency_of_grey_is_dropped(tmp_path: Path, suffix: str) -> None:
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), repeated(GREY))


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": bytes(range(4))}])
def test_palette_gives_its_colours(tmp_path: Path, options: dict[str, object]) -> None:
    colours = noise(4, 3)
    indices = GREY % 4
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours[indices])


def test_cmyk_jpeg_gives_its_colours(tmp_path: Path) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth, atol=4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_grey_is_scaled_from_the_full_range(tmp_path: Path, suffix: str) -> None:
    deep = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    Image.fromarray(deep).save(tmp_path / f"a{suffix}")
    pixels = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels, repeated(rounded(deep)))
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_big_endian_deep_tiff(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    image = Image.frombytes("I;16B", (10, 6), deep.astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), repeated(rounded(deep)))


@pytest.mark.parametrize(("suffix", "write"), [(".png", write_deep_png), (".tif", write_deep_tiff)])
def test_deep_colour_is_scaled_from_the_full_range(tmp_path: Path, suffix: str, write) -> None:
    deep = np.linspace(0, 65535, 180).astype(np.uint16).reshape(6, 10, 3)
    write(tmp_path / f"a{suffix}", deep)
    pixels = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(pixels.astype(int), rounded(deep).astype(int), atol=1)
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_pixels_without_a_meaning_are_refused(tmp_path: Path, complains: Complains) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    with complains(path, "floating-point", "16-bit PNG"):
        read_image(path)
    for value in (65536, -1):
        Image.fromarray(np.full((4, 4), value, np.int32)).save(path)
        with complains(path, str(value), "16-bit PNG"):
            read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    quarters = np.zeros((16, 32, 3), np.uint8)  # flat in blocks of 8: JPEG keeps it
    quarters[:8, :16] = 60
    quarters[8:, :16] = 120
    quarters[8:, 16:] = 240
    image = Image.fromarray(quarters)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    image.save(path, exif=exif, **LOSSLESS.get(suffix, {}))
    expected = UPRIGHT[orientation](quarters)
    np.testing.assert_allclose(read_image(path).astype(int), expected.astype(int), atol=2)
    if suffix != ".jpg":
        np.testing.assert_array_equal(read_mask(path), expected[..., 0] > 0)


def test_mask_is_true_above_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    levels = np.array([[0, 1, 255]], np.uint8)
    expected = [[False, True, True]]
    Image.fromarray(levels).save(path)
    assert read_mask(path).tolist() == expected
    Image.fromarray(levels.astype(np.uint16)).save(path)
    assert read_mask(path).tolist() == expected
    Image.fromarray(levels > 0).save(path)
    assert read_mask(path).tolist() == expected
    blue = np.zeros((1, 3, 3), np.uint8)
    blue[..., 2] = levels
    Image.fromarray(blue).save(path)
    assert read_mask(path).tolist() == expected


def test_alpha_is_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for mode in ("LA", "RGBA"):
        Image.new(mode, (3, 2), 0).save(path)
        opaque = Image.open(path)
        opaque.putalpha(255)
        opaque.save(path)
        assert not read_mask(path).any()


def test_palette_mask_goes_by_colour_not_by_index(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 1]], np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[True, False, False]]


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_truncated(tmp_path: Path, complains: Complains, suffix: str, read) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:length])
        with complains(path):
            read(path)


def test_damaged_inside(tmp_path: Path, complains: Complains, write_image: WriteImage) -> None:
    path = write_image(tmp_path / "a.png", 64, 64)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with complains(path):
        read_image(path)


@pytest.mark.parametrize("content", [b"hello\nworld\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_image_at_all(tmp_path: Path, complains: Complains, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with complains(path, "expected one of PNG, JPEG, BMP, TIFF, WEBP"):
        read_image(path)


def test_missing_file_and_folder(tmp_path: Path, complains: Complains) -> None:
    for path in (tmp_path / "gone.png", tmp_path):
        with complains(path):
            read_image(path)
    path = tmp_path / ("a" * 300)
    with complains(path, "File name too long"):
        read_image(path)


def test_images_of_too_many_pixels_are_refused(
    tmp_path: Path, complains: Complains, write_image: WriteImage
) -> None:
    path = write_image(tmp_path / "a.png", 8, 12)
    for read in (read_image, read_mask):
        few = Reading(max_pixels=95) if read is read_image else 95
        with complains(path, "8 x 12 = 96 pixels", "more than the 95", "--max-pixels 96"):
            read(path, few)
    assert read_image(path, Reading(max_pixels=96)).shape == (8, 12, 3)


def test_large_images_are_read_where_allowed_and_without_warnings(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("1", (30_000, 3_000), 1).save(path)  # more than Pillow's limit
    with pytest.raises(DataError, match="--max-pixels 90000000"):
        read_image(path)
    decoded = decode(path, 90_000_000)  # not read_image: three bytes a pixel take a while
    assert decoded.size == (3_000, 30_000)


def test_warning_filters_are_left_alone(tmp_path: Path, write_image: WriteImage) -> None:
    path = write_image(tmp_path / "a.png")
    before = list(warnings.filters)
    read_image(path)
    assert warnings.filters == before


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 32)])
@pytest.mark.parametrize("source", [(50, 70), (32, 32), (131, 20)])
def test_resized_as_torchvision_does(source: tuple[int, int], height: int, width: int) -> None:
    image = noise(*source, 3)
    expected = np.asarray(Resize((height, width))(Image.fromarray(image)))
    np.testing.assert_array_equal(resize_image(image, (height, width)), expected)


def test_pixels_that_cannot_be_written_to() -> None:
    image = noise(8, 8, 3)
    resized = resize_image(image, (32, 32))
    image.flags.writeable = False
    np.testing.assert_array_equal(resize_image(image, (32, 32)), resized)
