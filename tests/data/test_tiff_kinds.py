"""Kinds of TIFF that have no clear reading are refused by name, and others are read right."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from mambaad.data.decoding import decode
from mambaad.data.images import is_transparent, read_image
from mambaad.types import MAX_PIXELS, Reading
from tests.data.conftest import Complains, noise
from tests.data.drawn_files import packed_bits, tiff

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 258, 259, 262, 277, 284
FORMAT, EXTRA, SUBIFDS, KIND = 339, 338, 330, 254
SHAPE = (6, 10)
BANDS = noise(*SHAPE, 8)


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [(0, 0), (0, 0, 0), (2, 0), ()])
@pytest.mark.parametrize("base", [1, 3])
def test_more_channels_than_have_a_meaning_are_refused(
    written, complains: Complains, base: int, extra: tuple, bits: int, is_planar: bool
) -> None:
    channels = base + (len(extra) or 2)
    bands = BANDS[..., :channels].astype(f"<u{bits // 8}")
    tags = {BITS: [bits] * channels, SAMPLES: [channels], PHOTOMETRIC: [1 if base == 1 else 2]}
    tags |= {EXTRA: extra} if extra else {}
    data = bands.tobytes()
    if is_planar:
        data = [bands[..., i].tobytes() for i in range(channels)]
        tags |= {PLANAR: [2], -1: [channels]}
    path = written(tiff(data, SHAPE, tags))
    with complains(path, f"has {channels} channels, expected", "perhaps one of transparency"):
        read_image(path, Reading(16))


@pytest.mark.parametrize("extra", [(), (0,), (2,)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_fourth_channel_is_noted_as_transparency_whether_it_is_named_or_not(
    written, extra: tuple, bits: int
) -> None:
    bands = BANDS[..., :4].astype(f"<u{bits // 8}") * (257 if bits == 16 else 1)
    tags = {BITS: [bits] * 4, SAMPLES: [4], PHOTOMETRIC: [2], **({EXTRA: extra} if extra else {})}
    path = written(tiff(bands.astype(f"<u{bits // 8}").tobytes(), SHAPE, tags))
    np.testing.assert_array_equal(read_image(path, Reading(16)), BANDS[..., :3])
    assert is_transparent(decode(path, MAX_PIXELS))
    bands[..., 3] = 255
    written(tiff(bands.astype(f"<u{bits // 8}").tobytes(), SHAPE, tags))
    assert not is_transparent(decode(path, MAX_PIXELS))


def test_planes_of_8_bits_are_read_or_named(written, complains: Complains) -> None:
    planes = [BANDS[..., i].tobytes() for i in range(4)]
    tags = {BITS: [8] * 3, SAMPLES: [3], PHOTOMETRIC: [2], PLANAR: [2], -1: [3]}
    path = written(tiff(planes[:3], SHAPE, tags))
    np.testing.assert_array_equal(read_image(path), BANDS[..., :3])
    tags |= {BITS: [8] * 4, SAMPLES: [4], EXTRA: [0], -1: [4]}
    written(tiff(planes, SHAPE, tags))
    with complains(path, "is a TIFF of 4 channels of 8-bit numbers, in planes", "convert it"):
        read_image(path)


def test_planes_of_16_bits_in_tiles_are_named(written, complains: Complains) -> None:
    tags = {BITS: [16] * 3, SAMPLES: [3], PHOTOMETRIC: [2], PLANAR: [2], COMPRESSION: [5]}
    planes = [bytes(2 * 60)] * 3
    path = written(tiff(planes, SHAPE, {**tags, -1: [3]}))
    with complains(path, "3 channels of 16-bit numbers, in planes, compressed by LZW", "PNG"):
        read_image(path)


GREY = {BITS: [8]}


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({**GREY, 32997: [4]}, "a volume of 4 slices"),
        ({**GREY, FORMAT: [2]}, "signed 8-bit numbers"),
        ({BITS: [8] * 5, SAMPLES: [5], PHOTOMETRIC: [5], EXTRA: [0]}, "5 inks"),
        ({BITS: [8] * 4, SAMPLES: [4], PHOTOMETRIC: [5], 332: [2]}, "4 inks"),
        ({**GREY, PHOTOMETRIC: [3], 320: list(range(256)) * 3}, "a palette of 8-bit colours"),
        ({BITS: [16], PHOTOMETRIC: [3]}, "16-bit numbers, with a palette"),
        ({BITS: [16], FORMAT: [4]}, "16-bit numbers of an unknown kind"),
        ({BITS: [64], FORMAT: [6]}, "64-bit complex floats"),
        ({BITS: [16] * 3, SAMPLES: [3], PHOTOMETRIC: [2], FORMAT: [2] * 3}, "signed numbers"),
        ({BITS: [5, 6, 5], SAMPLES: [3], PHOTOMETRIC: [2]}, "5/6/5-bit numbers"),
        ({BITS: [24]}, "24-bit numbers"),
        ({BITS: [12], 266: [2]}, "12-bit numbers"),
        ({BITS: [32], PHOTOMETRIC: [0]}, "in which white is 0"),
        ({**GREY, COMPRESSION: [34712]}, "compressed by JPEG 2000"),
        ({**GREY, COMPRESSION: [12345]}, "compressed by method 12345"),
        ({**GREY, PHOTOMETRIC: [32803]}, "as a raw camera's pattern"),
        ({**GREY, PHOTOMETRIC: [999]}, "of photometric kind 999"),
        ({BITS: [8] * 3, SAMPLES: [3], PHOTOMETRIC: [6], 530: [1, 1]}, "YCbCr"),
    ],
)
def test_kinds_without_a_reading_are_named(written, complains: Complains, tags, words) -> None:
    path = written(tiff(bytes(60 * 16), SHAPE, tags))
    with complains(path, words, "convert it to PNG"):
        read_image(path, Reading(16, (0, 1)))


@pytest.mark.parametrize("compression", [1, 8])
def test_white_is_zero_in_16_bits_of_either_order(written, compression: int) -> None:
    numbers = np.random.default_rng(1).integers(0, 65536, SHAPE)
    for order in "<>":
        data = numbers.astype(f"{order}u2").tobytes()
        data = zlib.compress(data) if compression == 8 else data
        tags = {BITS: [16], PHOTOMETRIC: [0], COMPRESSION: [compression]}
        image = read_image(written(tiff(data, SHAPE, tags, order=order)), Reading(16))
        expected = np.rint((65535 - numbers) / 65535 * 255)
        assert np.abs(image[..., 0] - expected).max() <= 1


def big_tiff(order: str) -> bytes:
    """A BigTIFF of 8-bit grey."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    values = {256: 10, 257: 6, 258: 8, 259: 1, 262: 1, 273: 16 + 8 + 20 * 9 + 8, 277: 1, 278: 6}
    packed = b"".join(
        struct.pack(order + "HHQ", tag, 3, 1) + struct.pack(order + "H", value).ljust(8, b"\0")
        for tag, value in sorted({**values, 279: 60}.items())
    )
    return head + struct.pack(order + "Q", 9) + packed + bytes(8) + BANDS[..., 0].tobytes()


def test_big_tiff(written, complains: Complains) -> None:
    path = written(big_tiff("<"))
    np.testing.assert_array_equal(read_image(path)[..., 0], BANDS[..., 0])
    written(big_tiff(">"))
    with complains(path, "the form of a big-endian BigTIFF", "convert it to PNG"):
        read_image(path)


def below(kind: int, shape: tuple[int, int], type_of_link: int) -> bytes:
    """A TIFF with a directory below its first: of what kind (NewSubfileType) and size."""
    content = tiff(bytes(60), SHAPE, {BITS: [8]}, raw=[struct.pack("<HHII", SUBIFDS, 13, 1, 0)])
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    entries = [content[i : i + 12] for i in range(at + 2, at + 2 + 12 * count, 12)]
    link = struct.pack("<HHII", SUBIFDS, type_of_link, 1, len(content))
    content = content.replace(next(e for e in entries if e[:2] == link[:2]), link)
    own = {
        256: shape[1],
        257: shape[0],
    }
    changed = [struct.pack("<HHII", KIND, 4, 1, kind)]
    for entry in entries:
        (tag,) = struct.unpack_from("<H", entry)
        if tag in own:
            changed.append(struct.pack("<HHII", tag, 4, 1, own[tag]))
        elif tag != SUBIFDS:
            changed.append(entry)
    return content + struct.pack("<H", len(changed)) + b"".join(changed) + bytes(4)


@pytest.mark.parametrize("type_of_link", [4, 13])
def test_pictures_below_a_page_are_refused_and_previews_are_none(
    written, complains: Complains, type_of_link: int
) -> None:
    path = written(below(0, SHAPE, type_of_link))
    with complains(path, "has 2 pages"):
        read_image(path)
    for kind, shape in ((1, SHAPE), (1, (3, 5)), (0, (3, 5)), (4, SHAPE)):
        written(below(kind, shape, type_of_link))
        assert read_image(path).shape == (*SHAPE, 3)


def test_a_stack_of_one_directory_is_refused(written, complains: Complains) -> None:
    text = b"ImageJ=1.54f\nimages=7\nslices=7\n\0"
    content = tiff([text, bytes(60)], SHAPE, {BITS: [8]})
    path = written(content)
    with complains(path, "has 7 pages"):
        read_image(path)
    written(content.replace(b"images=7", b"images=1"))
    assert read_image(path).shape == (*SHAPE, 3)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey(written, bits: int) -> None:
    numbers = BANDS[..., :1] >> (8 - bits)
    path = written(tiff(packed_bits(numbers.astype(int), bits), SHAPE, {BITS: [bits]}))
    expected = np.rint(numbers[..., 0] * 255.0 / (2**bits - 1))
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
