"""Metadata never spoils pixels, and orientation is used wherever it can be read."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.containers import find_format, read_container
from mambaad.data.images import read_image
from tests.data.conftest import Complains, noise
from tests.data.drawn_files import chunk, exif, png, tiff, with_chunks, with_segments

WIDE = noise(16, 32, 3)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """The same picture in every format; its pixels as Pillow reads them from the sound file."""
    files = {}
    for suffix, options in {
        "png": {},
        "jpg": {"quality": 90},
        "webp": {"lossless": True},
        "tif": {},
        "bmp": {},
    }.items():
        files[suffix] = tmp_path / f"a.{suffix}"
        Image.fromarray(WIDE).save(files[suffix], **options)
    return files


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def bad_crc(name: bytes, data: bytes) -> bytes:
    return chunk(name, data)[:-4] + b"\0\1\2\3"


BROKEN_CHUNKS = {
    "EXIF without a header": chunk(b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"),
    "EXIF cut short": chunk(b"eXIf", b"II*\0\x08\0\0\0\x05\0"),
    "EXIF that points outside": chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f"),
    "a text of 2 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 2_000_000)),
    "texts of 70 MB": chunk(b"zTXt", b"C\0\0" + zlib.compress(b"x" * 900_000)) * 80,
    "a text that is not compressed": chunk(b"zTXt", b"Comment\0\0not zlib"),
    "an international text cut short": chunk(b"iTXt", b"Title\0\1"),
    "a text with a wrong check sum": bad_crc(b"tEXt", b"a\0b"),
    "a colour profile that is none": chunk(b"iCCP", b"name\0\0garbage"),
    "sizes of no pixels": chunk(b"pHYs", b"\1"),
    "a time that is none": chunk(b"tIME", b""),
    "chromaticities cut short": chunk(b"cHRM", b"\0\0"),
    "gamma cut short": chunk(b"gAMA", b"\0"),
    "an animation of no frame": chunk(b"acTL", struct.pack(">II", 0, 0)),
    "animation control cut short": chunk(b"acTL", b"\0"),
    "a background of the wrong length": chunk(b"bKGD", b""),
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_broken_chunks_of_a_png_are_left_out(tmp_path: Path, name: str, place: str) -> None:
    deep = np.arange(6 * 5 * 3, dtype=np.uint16).reshape(6, 5, 3) * 700
    path = tmp_path / "a.png"
    path.write_bytes(png(deep))
    expected = read_image(path)
    path.write_bytes(png(deep, **{place: BROKEN_CHUNKS[name]}))
    np.testing.assert_array_equal(read_image(path), expected)


BROKEN_SEGMENTS = {
    "JFIF cut short": (0xE0, b"JFIF\0"),
    "Adobe's cut short": (0xEE, b"Adobe"),
    "several pictures cut short": (0xE2, b"MPF\0II*\0"),
    "EXIF without a header": (0xE1, b"Exif\0\0garbage"),
    "EXIF cut short": (0xE1, b"Exif\0\0II*\0\x08\0\0\0\x05\0"),
    "EXIF with a resolution of nothing": (
        0xE1,
        b"Exif\0\0" + struct.pack("<4sIHHHIIIii", b"II*\0", 8, 1, 0x11A, 10, 1, 26, 0, -1, 0),
    ),
    "a directory of pictures that is none": (0xE2, b"MPF\0garbage"),
    "pictures that point outside": (
        0xE2,
        b"MPF\0II*\0" + struct.pack("<IHHHII", 8, 1, 0xB002, 7, 32, 26) + bytes(20) + b"\xff" * 16,
    ),
    "a colour profile in pieces": (0xE2, b"ICC_PROFILE\0\x05\x09abc"),
    "settings of an editor": (0xED, b"Photoshop 3.0\x008BIM\xff\xff\xff\xff"),
    "a comment that is no text": (0xFE, bytes(range(256))),
    "XMP that is no XML": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x <<"),
    "an unknown segment": (0xE7, b""),
}


@pytest.mark.parametrize("name", BROKEN_SEGMENTS)
def test_broken_segments_of_a_jpeg_are_left_out(images: dict[str, Path], name: str) -> None:
    path = images["jpg"]
    expected = pixels_of(path)
    path.write_bytes(with_segments(path.read_bytes(), BROKEN_SEGMENTS[name]))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("length", [20, 28])
def test_a_segment_whose_length_is_wrong(images: dict[str, Path], length: int) -> None:
    path = images["jpg"]
    expected = pixels_of(path)
    content = path.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", length) + b"Exif\0\0" + b"x" * 40
    path.write_bytes(content[:2] + segment + content[2:])
    np.testing.assert_array_equal(read_image(path), expected)


def test_what_says_how_a_jpeg_stores_colours_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(WIDE).convert("CMYK").save(path)
    expected = pixels_of(path)
    content = path.read_bytes()
    assert b"Adobe" in content
    path.write_bytes(with_segments(content, (0xE1, b"Exif\0\0garbage")))
    np.testing.assert_array_equal(read_image(path), expected)


ENTRIES = {
    "a text beyond the end": struct.pack("<HHII", 270, 2, 50, 2**31),
    "a resolution of nothing": struct.pack("<HHII", 282, 5, 0, 0),
    "a type that there is not": struct.pack("<HHII", 305, 77, 1, 0),
    "a rational beyond the end": struct.pack("<HHII", 283, 5, 1, 2**30),
    "EXIF beyond the end": struct.pack("<HHII", 34665, 4, 1, 2**31),
    "XMP of four billion bytes": struct.pack("<HHII", 700, 1, 2**32 - 1, 8),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_broken_entries_of_a_tiff_are_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    tags = {258: [8] * 3, 262: [2], 277: [3]}
    path.write_bytes(tiff(WIDE.tobytes(), (16, 32), tags, raw=[ENTRIES[name]]))
    np.testing.assert_array_equal(read_image(path), WIDE)


def test_broken_chunks_of_a_webp(images: dict[str, Path]) -> None:
    path = images["webp"]
    Image.fromarray(WIDE).save(path, lossless=True, exif=b"Exif\0\0garbage", xmp=b"<<")
    np.testing.assert_array_equal(read_image(path), WIDE)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_used_where_it_can_be_read(
    images: dict[str, Path], order: str, broken: bool
) -> None:
    data = exif(6, order=order, broken=broken)
    for suffix in ("png", "jpg", "webp"):
        path = images[suffix]
        expected = np.rot90(pixels_of(path), -1)
        if suffix == "png":
            path.write_bytes(with_chunks(path.read_bytes(), chunk(b"eXIf", data)))
        elif suffix == "jpg":
            path.write_bytes(with_segments(path.read_bytes(), (0xE1, b"Exif\0\0" + data)))
        else:
            Image.fromarray(WIDE).save(path, lossless=True, exif=data)
        np.testing.assert_array_equal(read_image(path), expected, err_msg=suffix)


def test_orientation_of_a_tiff_is_applied_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tags = {258: [8] * 3, 262: [2], 277: [3], 274: [6]}
    for order in ("<", ">"):
        path.write_bytes(tiff(WIDE.tobytes(), (16, 32), tags, order=order))
        np.testing.assert_array_equal(read_image(path), np.rot90(WIDE, -1))
    Image.fromarray(WIDE).save(path, tiffinfo={274: 6}, big_tiff=True)
    np.testing.assert_array_equal(read_image(path), np.rot90(WIDE, -1))


def test_orientation_in_xmp(images: dict[str, Path]) -> None:
    path = images["png"]
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    path.write_bytes(with_chunks(path.read_bytes(), text))
    np.testing.assert_array_equal(read_image(path), np.rot90(WIDE, -1))
    path = images["jpg"]
    expected = np.rot90(pixels_of(path), -1)
    segment = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    path.write_bytes(with_segments(path.read_bytes(), segment))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_turns_nothing(
    images: dict[str, Path], orientation: int
) -> None:
    path = images["png"]
    path.write_bytes(with_chunks(path.read_bytes(), chunk(b"eXIf", exif(orientation))))
    np.testing.assert_array_equal(read_image(path), WIDE)


def test_sound_files_keep_their_pixels_and_no_warning_is_raised(images: dict[str, Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in images.values():
            np.testing.assert_array_equal(read_image(path), pixels_of(path))


def test_formats_are_told_by_their_first_bytes(images: dict[str, Path]) -> None:
    found = {suffix: find_format(path.read_bytes()) for suffix, path in images.items()}
    assert found == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
    assert find_format(b"GIF89a") is None
    assert find_format(b"") is None


def test_nothing_makes_the_walk_fail(images: dict[str, Path]) -> None:
    random = np.random.default_rng(1)
    for path in images.values():
        content = path.read_bytes()
        kind = find_format(content)
        for _ in range(50):
            damaged = bytearray(content[: random.integers(4, len(content))])
            for at in random.integers(4, len(damaged) + 1, 4):
                damaged[at - 1] = random.integers(0, 256)
            read_container(bytes(damaged), kind)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x0aftypheic", "HEIF"),
        (b"P5\n8 8\n255\n", "PNM"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"\n" * 128 + b"DICM", "DICOM"),
        (b"8BPS", "Photoshop"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"PK\x03\x04", "Zip archive"),
    ],
)
def test_other_formats_under_an_images_name_are_named(
    tmp_path: Path, complains: Complains, content: bytes, name: str
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content + bytes(40))
    with complains(path, f"is a file of the format {name}, expected one of PNG", "convert it"):
        read_image(path)
