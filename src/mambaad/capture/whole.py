"""Whether an image file is written to its end, as far as its format tells."""

from __future__ import annotations

from mambaad.data import tiff
from mambaad.data.containers import find_format

_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325


def is_whole(content: bytes) -> bool:
    """Whether nothing is missing at a file's end; True where its format does not tell."""
    kind = find_format(content)
    if kind == "PNG":
        return b"IEND" in content[-64:]
    if kind == "JPEG":
        return b"\xff\xd9" in content[-64:]
    if kind == "WEBP":  # the bytes after the first eight
        return len(content) >= int.from_bytes(content[4:8], "little") + 8
    if kind == "BMP":  # the bytes of the file, 0 where its writer did not know
        return len(content) >= max(int.from_bytes(content[2:6], "little"), 26)
    if kind == "TIFF":
        return _is_whole_tiff(content)
    return True


def _is_whole_tiff(content: bytes) -> bool:
    """Whether there are directories, and the pixels that they speak of."""
    pages = tiff.directories(content)
    if not pages or any(page.keys().isdisjoint((_STRIPS, _TILES)) for page in pages):
        return False
    ends = [0]
    for page in pages:
        for starts, lengths in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
            pairs = zip(page.get(starts, ()), page.get(lengths, ()), strict=False)
            ends += [start + length for start, length in pairs]
    return len(content) >= max(ends)
