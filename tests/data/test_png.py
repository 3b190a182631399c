"""Every kind of PNG is read right, and one whose rows are not all there is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from mambaad.data.images import read_image
from tests.data.conftest import Complains, noise
from tests.data.drawn_files import SIGNATURE, chunk, packed_bits

PIXELS = noise(9, 13, 3)
GREY, PALETTE = 0, 3
PASSES = [
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
]


def rows_of(numbers: np.ndarray, bits: int) -> list[bytes]:
    return [packed_bits(row[None].astype(int), bits) for row in numbers]


def drawn(
    numbers: np.ndarray, bits: int, kind: int, *chunks: bytes, interlaced: bool, keep: float = 1.0
) -> bytes:
    """A PNG of height x width (x channels), of which a share of the rows is kept."""
    parts = [numbers[r::dr, c::dc] for r, c, dr, dc in PASSES] if interlaced else [numbers]
    rows = [row for part in parts if part.size for row in rows_of(part, bits)]
    rows = rows[: int(len(rows) * keep)]
    height, width = numbers.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    middle = b"".join(chunks) + chunk(b"IDAT", data)
    return SIGNATURE + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("is_palette", [False, True])
def test_few_bits_interlaced_or_not(
    tmp_path: Path, bits: int, is_palette: bool, interlaced: bool
) -> None:
    numbers = PIXELS[..., 0] >> (8 - bits)
    path = tmp_path / "a.png"
    expected = np.repeat(np.rint(numbers * 255.0 / (2**bits - 1))[..., None], 3, axis=2)
    extra, kind = [], GREY
    if is_palette:
        colours = noise(2**bits, 3)
        expected, kind = colours[numbers], PALETTE
        extra = [chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", b"\0")]
    path.write_bytes(drawn(numbers, bits, kind, *extra, interlaced=interlaced))
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("bits", "kind"), [(8, 0), (8, 2), (1, 0), (16, 0), (16, 2), (8, 6)])
def test_rows_that_are_absent_are_no_black_ones(
    tmp_path: Path, complains: Complains, bits: int, kind: int, interlaced: bool
) -> None:
    channels = {0: 1, 2: 3, 6: 4}[kind]
    numbers = np.full((9, 13, channels), 2**bits - 1)
    path = tmp_path / "a.png"
    for keep in (0.3, 0.99):
        path.write_bytes(drawn(numbers, bits, kind, interlaced=interlaced, keep=keep))
        with complains(path, "its pixels are", "expected", "repair or remove it"):
            read_image(path)
    path.write_bytes(drawn(numbers * 0, bits, kind, interlaced=interlaced))  # black, and whole
    if bits < 16:
        assert not read_image(path).any()


def test_colours_that_a_palette_lacks(tmp_path: Path, complains: Complains) -> None:
    path = tmp_path / "a.png"
    numbers = np.full((4, 4), 5)
    numbers[0, 0] = 9
    palette = chunk(b"PLTE", bytes(range(3 * 9)))
    path.write_bytes(drawn(numbers, 8, PALETTE, palette, interlaced=False))
    with complains(path, "its palette has 9 colours, and pixels go to 9"):
        read_image(path)
    numbers[0, 0] = 8
    path.write_bytes(drawn(numbers, 8, PALETTE, palette, interlaced=False))
    assert read_image(path)[0, 0].tolist() == [24, 25, 26]


def test_gamma_and_profiles_do_not_change_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    gamma = chunk(b"gAMA", struct.pack(">I", 100_000))
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(128)))
    path.write_bytes(drawn(PIXELS[..., 0], 8, GREY, gamma, profile, interlaced=False))
    np.testing.assert_array_equal(read_image(path)[..., 0], PIXELS[..., 0])
