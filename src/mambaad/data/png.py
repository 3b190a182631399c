"""The length of a PNG's pixels, which Pillow does not check."""

from __future__ import annotations

import struct
import zlib

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((8, 8, 0, 0), (8, 8, 0, 4), (8, 4, 4, 0), (4, 4, 0, 2), (4, 2, 2, 0), (2, 2, 0, 1))
_INTERLACED = (*_PASSES, (2, 1, 1, 0))
"""Steps and starts of rows and columns (PNG, section 8.2)."""


def check_complete(content: bytes) -> None:
    """Refuse a PNG whose data end before its last row, though they are marked as complete.

    Raises:
        ValueError: says how much there is.
        zlib.error, struct.error: the file is damaged.
    """
    width, height, depth, kind, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    expected = 0
    for row_step, column_step, row, column in _INTERLACED if is_interlaced else ((1, 1, 0, 0),):
        rows = len(range(row, height, row_step))
        columns = len(range(column, width, column_step))
        if columns:
            expected += rows * (1 + -(-columns * depth * _CHANNELS[kind] // 8))
    inflate = zlib.decompressobj()
    found, at = 0, 8
    while at + 8 <= len(content) and found < expected:
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IDAT":
            found += len(inflate.decompress(content[at + 8 : at + 8 + length], expected - found))
        at += 12 + length
    if found < expected:
        raise ValueError(f"its pixels are {found} bytes, expected {expected}")
