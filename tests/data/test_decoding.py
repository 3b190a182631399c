"""Kinds of pixels and files, drawn byte by byte where Pillow does not write them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.decoding import decode
from mambaad.data.images import read_image
from mambaad.types import MAX_PIXELS, Reading
from tests.data.conftest import Complains, noise
from tests.data.drawn_files import packed_bits, png, tiff

DEEP = np.random.default_rng(3).integers(0, 65536, (6, 10, 4)).astype(np.uint16)
GREY16, RGB16 = DEEP[..., :1], DEEP[..., :3]
BITS, PHOTOMETRIC, SAMPLES, PLANAR, FORMAT, COMPRESSION = 258, 262, 277, 284, 339, 259


def to_8_bits(numbers: np.ndarray, white: float) -> np.ndarray:
    """The formula, in floating point: three channels."""
    scaled = np.rint(numbers / white * 255).astype(np.uint8)
    return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled


def reading(depth: int | None = None, **settings: object) -> Reading:
    return Reading(depth, **settings)


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "rgb", "rgb and alpha"])
def test_png_of_16_bits_is_read_to_the_last_bit(written, depth: int, kind: str) -> None:
    channels = {"grey": 1, "grey and alpha": 2, "rgb": 3, "rgb and alpha": 4}[kind]
    pixels = DEEP[..., :channels] >> (16 - depth)
    path = written(png(pixels), "a.png")
    colours = pixels[..., : 3 if channels > 2 else 1]
    expected = to_8_bits(colours, 2**depth - 1)
    np.testing.assert_array_equal(read_image(path, reading(depth)), expected)


@pytest.mark.parametrize("depth", [10, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("compression", [1, 8])
def test_tiff_of_16_bits(written, depth, order, channels, compression) -> None:
    pixels = DEEP[..., :channels] >> (16 - depth)
    data = pixels.astype(f"{order}u2").tobytes()
    tags = {BITS: [16] * channels, SAMPLES: [channels], PHOTOMETRIC: [1 + (channels > 2)]}
    tags |= {338: [2]} if channels in (2, 4) else {}
    if compression == 8:
        data, tags = zlib.compress(data), {**tags, COMPRESSION: [8]}
    path = written(tiff(data, (6, 10), tags, order=order))
    expected = to_8_bits(pixels[..., : 3 if channels > 2 else 1], 2**depth - 1)
    np.testing.assert_array_equal(read_image(path, reading(depth)), expected)


def test_tiff_of_16_bits_in_planes(written) -> None:
    strips = [RGB16[..., i].astype("<u2").tobytes() for i in range(3)]
    tags = {BITS: [16] * 3, SAMPLES: [3], PHOTOMETRIC: [2], PLANAR: [2], -1: [3]}
    path = written(tiff(strips, (6, 10), tags))
    np.testing.assert_array_equal(read_image(path, reading(16)), to_8_bits(RGB16, 65535))


@pytest.mark.parametrize("depth", [10, 12, 14])
def test_packed_bits_say_their_depth_themselves(written, depth: int) -> None:
    numbers = GREY16 >> (16 - depth)
    path = written(tiff(packed_bits(numbers, depth), (6, 10), {BITS: [depth]}))
    for given in (None, 16):
        image = read_image(path, reading(given))
        np.testing.assert_array_equal(image, to_8_bits(numbers, 2**depth - 1))


@pytest.mark.parametrize("value", [0, 200, 4095])
@pytest.mark.parametrize("is_signed", [False, True])
def test_whole_numbers_of_32_bits(written, value: int, is_signed: bool) -> None:
    numbers = np.full((2, 2, 1), value, "<i4")
    tags = {BITS: [32], FORMAT: [1 + is_signed]}
    path = written(tiff(numbers.tobytes(), (2, 2), tags))
    np.testing.assert_array_equal(read_image(path, reading(12)), to_8_bits(numbers, 4095))


def test_signed_numbers_below_zero_are_refused(written, complains: Complains) -> None:
    numbers = np.full((2, 2), -5, "<i2")
    path = written(tiff(numbers.tobytes(), (2, 2), {BITS: [16], FORMAT: [2]}))
    with complains(path, "-5", "expected 0 to 65535"):
        read_image(path)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_have_a_stated_range(
    written, complains: Complains, size: int, channels: int, order: str
) -> None:
    numbers = np.linspace(-1, 3, 60 * channels).reshape(6, 10, channels)
    numbers[0, 0] = -1
    data = numbers.astype(f"{order}f{size}")
    tags = {BITS: [8 * size] * channels, SAMPLES: [channels], FORMAT: [3] * channels}
    tags |= {PHOTOMETRIC: [1 + (channels == 3)]}
    path = written(tiff(data.tobytes(), (6, 10), tags, order=order))
    exact = data.astype(float)
    image = read_image(path, reading(float_range=(-1.0, 3.0)))
    np.testing.assert_array_equal(image, to_8_bits(exact + 1, 4))
    with complains(path, "floating-point pixels from -1 to 3", "--float-range"):
        read_image(path)
    with complains(path, "from -1 to 3, expected 0 to 3"):
        read_image(path, reading(float_range=(0.0, 3.0)))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_deflated_with_their_predictor(written, size: int, channels: int) -> None:
    numbers = np.linspace(0, 1, 60 * channels).reshape(6, 10 * channels).astype(f">f{size}")
    rows = []
    for row in numbers:  # TIFF Technical Note 3: bytes by their weight, then differences
        ordered = np.frombuffer(row.tobytes(), np.uint8).reshape(-1, size).T.ravel()
        differences = ordered.copy()
        differences[channels:] -= ordered[:-channels]
        rows.append(differences.tobytes())
    tags = {BITS: [8 * size] * channels, SAMPLES: [channels], FORMAT: [3] * channels}
    tags |= {COMPRESSION: [8], 317: [3], PHOTOMETRIC: [1 + (channels == 3)]}
    path = written(tiff(zlib.compress(b"".join(rows)), (6, 10), tags))
    expected = to_8_bits(numbers.reshape(6, 10, channels).astype(float), 1)
    np.testing.assert_array_equal(read_image(path, reading(float_range=(0, 1))), expected)


def test_floats_that_are_no_numbers(tmp_path: Path, complains: Complains) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(path)
    with complains(path, "not finite"):
        read_image(path, reading(float_range=(0, 1)))


def test_floats_of_another_compression_are_refused_by_name(written, complains: Complains) -> None:
    path = written(tiff(b"\x80\0", (1, 1), {BITS: [64], FORMAT: [3], COMPRESSION: [5]}))
    with complains(path, "1 channel of 64-bit floats, compressed by LZW", "convert it to PNG"):
        read_image(path)


@pytest.mark.parametrize("bits", [1, 8, 12, 16, 32])
def test_white_is_zero(written, bits: int) -> None:
    if bits == 32:
        numbers = np.linspace(0, 1, 60, dtype="<f4").reshape(6, 10, 1)
        white, data, tags = 1.0, numbers.tobytes(), {FORMAT: [3]}
    else:
        numbers = (GREY16 >> (16 - bits)).astype(int)
        white, tags = 2**bits - 1, {}
        data = (
            numbers.astype(f"<u{bits // 8}").tobytes()
            if bits % 8 == 0
            else packed_bits(numbers, bits)
        )
    path = written(tiff(data, (6, 10), {BITS: [bits], PHOTOMETRIC: [0], **tags}))
    image = read_image(path, reading(16, float_range=(0, 1)))
    expected = to_8_bits(white - numbers.astype(float), white)
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=int(bits > 8))


def test_cmyk_gives_its_colours_and_16_bits_of_it_are_refused(
    written, tmp_path: Path, complains: Complains
) -> None:
    smooth = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif"), smooth)
    tags = {BITS: [16] * 4, SAMPLES: [4], PHOTOMETRIC: [5]}
    path = written(tiff(DEEP.tobytes(), (6, 10), tags))
    with complains(path, "4 channels of 16-bit numbers, of inks", "convert it to PNG"):
        read_image(path)


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
def test_premultiplied_colours_are_read_of_8_bit_rgb_only(
    written, complains: Complains, channels: int, bits: int, is_planar: bool
) -> None:
    tags = {BITS: [bits] * channels, SAMPLES: [channels], PHOTOMETRIC: [channels // 2], 338: [1]}
    if (bits, channels, is_planar) == (8, 4, False):
        colour, alpha = np.array([200, 100, 50]), 128
        data = bytes([*(np.rint(colour * alpha / 255).astype(np.uint8)), alpha]) * 60
        path = written(tiff(data, (6, 10), tags))
        assert np.abs(read_image(path).astype(int) - colour).max() <= 1
        return
    data = [DEEP[..., i].astype(f"<u{bits // 8}").tobytes() for i in range(channels)]
    tags |= {PLANAR: [2], -1: [channels]} if is_planar else {}
    path = written(tiff(data if is_planar else b"".join(data), (6, 10), tags))
    with complains(path, "in planes" if (bits, channels) == (8, 4) else "premultiplied", "PNG"):
        read_image(path)


@pytest.mark.parametrize("photometric", [8, 9])
def test_lab_is_refused_by_name(written, complains: Complains, photometric: int) -> None:
    tags = {BITS: [8] * 3, SAMPLES: [3], PHOTOMETRIC: [photometric]}
    path = written(tiff(bytes(12), (2, 2), tags))
    parts = ("CIELAB", "convert it to RGB") if photometric == 8 else ("in CIELAB", "convert it")
    with complains(path, *parts):
        read_image(path)


def pages(count: int, kinds: tuple[int, ...] = ()) -> bytes:
    """A TIFF of several pages: of what kind (NewSubfileType) each after the first is."""
    more = [(bytes([50]), (1, 1), {BITS: [8], 254: [kind]}) for kind in kinds or (0,) * (count - 1)]
    return tiff(bytes([100]), (1, 1), {BITS: [8]}, more=more)


def test_several_pages_are_refused_and_previews_are_none(written, complains: Complains) -> None:
    path = written(pages(3))
    with complains(path, "has 3 pages", "save each as a file of its own"):
        read_image(path)
    for kinds in ((1,), (1, 1), (4,), (5,)):
        written(pages(0, kinds))
        assert read_image(path)[0, 0, 0] == 100
    written(pages(0, (1, 0)))
    with complains(path, "has 2 pages"):
        read_image(path)


def test_a_preview_in_the_place_of_the_picture_is_refused(written, complains: Complains) -> None:
    more = [(bytes([50]), (1, 1), {BITS: [8]})]
    path = written(tiff(bytes([100]), (1, 1), {BITS: [8], 254: [1]}, more=more))
    with complains(path, "pages"):
        read_image(path)
    written(tiff(bytes([100]), (1, 1), {BITS: [8], 254: [1], 330: [8]}))  # as raw files have it
    with complains(path, "pages"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_are_refused(tmp_path: Path, complains: Complains, suffix: str) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)), Image.new("RGB", (8, 8), "red")]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with complains(path, "has 2 frames"):
        read_image(path)
    frames[0].save(path, lossless=True)
    np.testing.assert_array_equal(read_image(path), noise(8, 8, 3))


def test_pictures_of_one_size_in_a_jpeg_are_refused_and_previews_are_none(
    tmp_path: Path, complains: Complains
) -> None:
    path = tmp_path / "a.jpg"
    first = Image.new("RGB", (32, 24), (90, 90, 90))
    for size, is_refused in (((32, 24), True), ((16, 12), False)):
        first.save(path, format="MPO", save_all=True, append_images=[Image.new("RGB", size)])
        if is_refused:
            with complains(path, "has 2 pictures"):
                read_image(path)
        else:
            assert read_image(path).shape == (24, 32, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_images_are_turned_upright_too(written, orientation: int) -> None:
    pixels = (DEEP[:, :7, :3] >> 4).astype(np.uint16)
    exif = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    from tests.data.drawn_files import chunk
    from tests.data.test_images import UPRIGHT

    path = written(png(pixels, before=chunk(b"eXIf", exif)), "a.png")
    expected = UPRIGHT[orientation](to_8_bits(pixels, 4095))
    np.testing.assert_array_equal(read_image(path, reading(12)), expected)


@pytest.mark.parametrize("compression", [1, 8])
def test_a_rare_tiff_that_is_cut_short(written, complains: Complains, compression: int) -> None:
    data = packed_bits(GREY16 >> 4, 12)
    data = zlib.compress(data) if compression == 8 else data
    tags = {BITS: [12], COMPRESSION: [compression]}
    path = written(tiff(data[:30], (6, 10), tags))
    with complains(path, "cannot be read as an image"):
        read_image(path)


def test_no_more_is_unpacked_than_belongs_there(written) -> None:
    data = zlib.compress(packed_bits(GREY16 >> 4, 12) + bytes(10_000_000))
    path = written(tiff(data, (6, 10), {BITS: [12], COMPRESSION: [8]}))
    assert decode(path, MAX_PIXELS).wide.shape == (6, 10, 1)


def test_any_bytes_after_a_header_give_one_line(written, complains: Complains) -> None:
    random = np.random.default_rng(5)
    buffer = BytesIO()
    Image.fromarray(noise(16, 16, 3)).save(buffer, "TIFF")
    sound = tiff(GREY16.tobytes(), (6, 10), {BITS: [16]})
    for content in (buffer.getvalue(), sound, pages(3), png(RGB16)):
        for _ in range(60):
            damaged = bytearray(content)
            for at in random.integers(4, len(content), 3):
                damaged[at] = random.integers(0, 256)
            path = written(bytes(damaged[: random.integers(8, len(content) + 1)]))
            try:
                read_image(path, reading(16, float_range=(-1e38, 1e38), max_pixels=10_000))
            except Exception as error:
                with complains(path):
                    raise error


def bmp(pixels: bytes, bits: int, masks: bytes = b"", size: int = 40, alpha: bool = False) -> bytes:
    """A BMP of 2 rows of 4 pixels; ``masks`` say which bits are red, green, blue (and alpha)."""
    head = struct.pack(
        "<IiiHHIIiiII", size, 4, 2, 1, bits, 3 if masks else 0, len(pixels), 0, 0, 0, 0
    )
    head = (head + masks).ljust(size, b"\0")
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head))
        + head
        + pixels
    )


@pytest.mark.parametrize(
    ("bits", "masks"), [(16, (0xF800, 0x7E0, 0x1F)), (16, (0x7C00, 0x3E0, 0x1F)), (16, ())]
)
def test_bmp_of_16_bits_a_pixel(written, bits: int, masks: tuple[int, ...]) -> None:
    is_565 = masks[:1] == (0xF800,)
    depths = (5, 6, 5) if is_565 else (5, 5, 5)
    parts = [np.random.default_rng(i).integers(0, 2**d, (2, 4)) for i, d in enumerate(depths)]
    packed = parts[0] << sum(depths[1:]) | parts[1] << depths[2] | parts[2]
    data = packed[::-1].astype("<u2").tobytes()
    path = written(bmp(data, bits, struct.pack(f"<{len(masks)}I", *masks)), "a.bmp")
    expected = [p * 255 / (2**d - 1) for p, d in zip(parts, depths, strict=True)]
    assert np.abs(read_image(path) - np.stack(expected, axis=2)).max() < 1.01


@pytest.mark.parametrize("size", [40, 108, 124])
def test_bmp_of_32_bits_with_and_without_transparency(written, size: int) -> None:
    pixels = noise(2, 4, 4)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if size > 40 else b""
    path = written(bmp(pixels[::-1].tobytes(), 32, masks, size), "a.bmp")
    np.testing.assert_array_equal(read_image(path), pixels[..., 2::-1])


def test_bmp_of_other_bits_is_named(written, complains: Complains) -> None:
    path = written(bmp(bytes(32), 32, struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)), "a.bmp")
    with complains(path, "is a BMP of a kind that cannot be read", "convert it to PNG"):
        read_image(path)


def test_a_jpeg_of_12_bits_is_named(written, complains: Complains) -> None:
    buffer = BytesIO()
    Image.fromarray(noise(16, 16)).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    content[content.index(b"\xff\xc0") + 4] = 12
    path = written(bytes(content), "a.jpg")
    with complains(path, "is a JPEG of a kind that cannot be read", "12-bit", "convert it to PNG"):
        read_image(path)


@pytest.mark.parametrize("inks", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_inks_and_progressive_ones(written, inks: bool, progressive: bool) -> None:
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    buffer = BytesIO()
    image = Image.fromarray(smooth).convert("CMYK" if inks else "RGB")
    image.save(buffer, "JPEG", quality=95, progressive=progressive)  # Adobe's: inverted
    assert (b"Adobe" in buffer.getvalue()) == inks
    path = written(buffer.getvalue(), "a.jpg")
    assert np.abs(read_image(path).astype(int) - smooth).max() <= 3
