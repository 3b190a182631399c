"""The directories of a TIFF file (TIFF 6.0), and the pixels of those that Pillow cannot read.

EXIF is such a directory too, so that the orientation of every format is read here.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Shaped

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, PLANAR, PREDICTOR, SAMPLE_FORMAT = 274, 277, 284, 317, 339
SUBFILE, ROWS_PER_STRIP, SUBDIRECTORIES, EXTRA_SAMPLES = 254, 278, 330, 338
PALETTE, TILE_WIDTH, INK_SET, DEPTH = 320, 322, 332, 32997
_STRIPS, _STRIP_BYTES = 273, 279

_NEEDED = frozenset(
    [
        *(SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, _STRIPS, SAMPLES),
        *(ROWS_PER_STRIP, _STRIP_BYTES, PLANAR, PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT),
        *(266, 292, 293, 320, 322, 323, 324, 325, 332, 347),  # fill order, fax, palette, tiles
        *range(512, 522),  # JPEG in TIFF
        50674,  # LERC
        *range(529, 533),  # YCbCr
    ]
)
"""The tags that say where and what the pixels are; all others are metadata."""

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    18: 8,
}
_LETTERS = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_MOST_PAGES = 10_000
_FLOAT_PREDICTOR = 3

Directory = Mapping[int, tuple[int, ...]]
"""The whole numbers of a directory by tag; tags of other types, or that are broken, are absent."""


def directories(content: bytes, start: int | None = None) -> list[Directory]:
    """Read the directories of a TIFF file or of EXIF, one a page; none if there is no header.

    Args:
        content: the file.
        start: where the first one is; where the header says, if it is not given.
    """
    order, is_big = byte_order(content), content[2:4] in (b"+\0", b"\0+")
    if order is None:
        return []
    head, entry, number = (8, 20, "Q") if is_big else (2, 12, "I")
    pages: list[Directory] = []
    seen = set()
    try:
        at = start or struct.unpack_from(order + number, content, 8 if is_big else 4)[0]
        while at and at not in seen and len(pages) < _MOST_PAGES:
            seen.add(at)
            (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), content, at)
            end = at + head + entry * count
            if end > len(content):
                break
            starts = range(at + head, end, entry)
            found = (_values(content, start, order, number) for start in starts)
            pages.append({tag: values for tag, values in found if values})
            (at,) = struct.unpack_from(order + number, content, end)
    except struct.error:
        pass  # what follows is cut off
    return pages


def byte_order(content: bytes) -> str | None:
    """Return ``"<"`` or ``">"``, as ``struct`` names it; None without the header of a TIFF."""
    return {b"II": "<", b"MM": ">"}.get(content[:2])


def _values(content: bytes, start: int, order: str, number: str) -> tuple[int, tuple[int, ...]]:
    tag, kind, count = struct.unpack_from(f"{order}HH{number}", content, start)
    room = struct.calcsize(number)
    at = start + 4 + room
    size = _SIZES.get(kind, 0) * count
    if size > room:
        (at,) = struct.unpack_from(order + number, content, at)
    if kind not in _LETTERS or at + size > len(content):
        return tag, ()
    return tag, struct.unpack_from(f"{order}{count}{_LETTERS[kind]}", content, at)


def without_metadata(content: bytes) -> bytes:
    """Give a TIFF file a directory of its first page with nothing in it but what pixels need.

    Metadata can be broken, or make Pillow warn; orientation is taken out too, so that it is not
    applied twice. A file that is cut short, or a BigTIFF, is returned as it is.
    """
    order = byte_order(content)
    if order is None or content[2:4] not in (b"*\0", b"\0*"):
        return content
    (at,) = struct.unpack_from(order + "I", content, 4)
    if at + 2 > len(content):
        return content
    (count,) = struct.unpack_from(order + "H", content, at)
    entries = [content[i : i + 12] for i in range(at + 2, at + 2 + 12 * count, 12)]
    kept = [e for e in entries if len(e) == 12 and struct.unpack(order + "H", e[:2])[0] in _NEEDED]
    if len(entries[-1:][0] if entries else b"") < 12:
        return content
    padding = bytes(len(content) % 2)
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    start = struct.pack(order + "I", len(content) + len(padding))
    return b"".join((content[:4], start, memoryview(content)[8:], padding, directory))


def read_samples(content: bytes, page: Directory) -> Shaped[np.ndarray, "h w c"] | None:
    """Decode pixels of a type that Pillow has no mode for: floats, 9 to 16 bits.

    Args:
        content: the file.
        page: its first directory.

    Returns:
        The numbers as they are in the file, in its type (whole numbers of up to 16 bits as uint16);
        None for a type, compression (other than deflate) or arrangement that this does not read.

    Raises:
        ValueError, zlib.error, struct.error: the file is cut short or damaged.
    """
    order, bits = byte_order(content), set(page.get(BITS, (1,)))
    kind = set(page.get(SAMPLE_FORMAT, (1,)))
    compression = page.get(COMPRESSION, (1,))[0]
    predictor = page.get(PREDICTOR, (1,))[0]
    of_floats = kind == {3} and bits <= {16, 32, 64}
    of_whole = kind == {1} and bits <= set(range(9, 17)) and predictor == 1
    if (
        not (of_floats or of_whole)
        or len(bits) != 1
        or compression not in (1, 8, 32946)
        or predictor not in (1, _FLOAT_PREDICTOR)
        or _STRIPS not in page
        or page.get(266, (1,))[0] != 1
    ):
        return None
    (depth,) = bits
    height, width = page[HEIGHT][0], page[WIDTH][0]
    channels = page.get(SAMPLES, (1,))[0]
    planes = channels if page.get(PLANAR, (1,))[0] == 2 else 1
    across = width * channels // planes  # samples of a row
    row_bytes = -(-across * depth // 8)
    rows_of_strip = min(page.get(ROWS_PER_STRIP, (height,))[0], height)
    strips = [content[a : a + n] for a, n in zip(page[_STRIPS], page[_STRIP_BYTES], strict=True)]
    of_plane = math.ceil(height / rows_of_strip)
    decoded = []
    for i, strip in enumerate(strips[: of_plane * planes]):
        rows = min(rows_of_strip, height - i % of_plane * rows_of_strip)
        # No more than belongs there: a small file may grow without limit.
        data = strip
        if compression != 1:
            data = zlib.decompressobj().decompress(strip, rows * row_bytes)
        table = np.frombuffer(data, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
        if of_whole:
            is_packed = depth < 16
            decoded.append(
                _unpacked(table, depth, across) if is_packed else table.view(f"{order}u2")
            )
        elif predictor == _FLOAT_PREDICTOR:
            decoded.append(_summed(table, depth // 8, channels // planes))
        else:
            decoded.append(table.view(f"{order}f{depth // 8}"))
    samples: np.ndarray = np.concatenate(decoded)
    if planes > 1:
        return np.ascontiguousarray(samples.reshape(planes, height, width).transpose(1, 2, 0))
    return samples.reshape(height, width, channels)


def _unpacked(
    rows: Shaped[np.ndarray, "h bytes"], depth: int, across: int
) -> Shaped[np.ndarray, "h w"]:
    """Unpack whole numbers of ``depth`` bits, the highest bit first."""
    bits = np.unpackbits(rows, axis=1)[:, : across * depth].reshape(len(rows), across, depth)
    weights = (1 << np.arange(depth - 1, -1, -1)).astype(np.uint16)
    return np.asarray((bits * weights).sum(axis=2, dtype=np.uint16))


def _summed(
    rows: Shaped[np.ndarray, "h bytes"], size: int, channels: int
) -> Shaped[np.ndarray, "h w"]:
    """Undo the predictor of floats (Adobe, TIFF Technical Note 3).

    A row holds the highest bytes of all numbers, then the next ones, and of all that differences.
    """
    height, width = len(rows), rows.shape[1] // size
    differences = rows.reshape(height, -1, channels)
    planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(height, size, width)
    numbers = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}")
    return numbers.reshape(height, width)
