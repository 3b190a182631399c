"""Image files drawn byte by byte, of kinds that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, height x width x channels, with chunks around pixels."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    middle = before + chunk(b"IDAT", zlib.compress(rows)) + after
    return SIGNATURE + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")


def with_chunks(content: bytes, *chunks: bytes) -> bytes:
    """Put chunks into a PNG, after its header."""
    return content[:33] + b"".join(chunks) + content[33:]


def with_segments(content: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Put segments, each a marker's second byte and its data, at the start of a JPEG."""
    packed = (b"\xff" + bytes([m]) + struct.pack(">H", len(d) + 2) + d for m, d in segments)
    return content[:2] + b"".join(packed) + content[2:]


Tags = Mapping[int, Sequence[int]]


def tiff(
    data: bytes | Sequence[bytes],
    shape: tuple[int, int],
    tags: Tags,
    *,
    order: str = "<",
    raw: Sequence[bytes] = (),
    more: Sequence[tuple[bytes, tuple[int, int], Tags]] = (),
) -> bytes:
    """A TIFF.

    Args:
        data: the pixels, of one strip or of several.
        shape: height and width.
        tags: further ones, of 16-bit numbers.
        order: of bytes, as ``struct`` names it.
        raw: further entries of the directory as they are, 12 bytes each.
        more: further pages: data, shape and tags of each.
    """
    content = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    link = 4
    for page_data, page_shape, page_tags, page_raw in [
        (data, shape, tags, raw),
        *((*page, ()) for page in more),
    ]:
        strips = [page_data] if isinstance(page_data, bytes) else list(page_data)
        offsets, sizes = [], [len(strip) for strip in strips]
        for strip in strips:
            offsets.append(len(content))
            content += strip + bytes(len(strip) % 2)
        rows = -(-page_shape[0] // max(len(strips) // page_tags.get(-1, [1])[0], 1))
        entries = {256: [page_shape[1]], 257: [page_shape[0]], 259: [1], 262: [1], 277: [1]}
        entries |= {278: [rows], **{tag: list(v) for tag, v in page_tags.items() if tag > 0}}
        packed = []
        for tag, values in sorted({**entries, 273: offsets, 279: sizes}.items()):
            kind, letter = (4, "I") if tag in (273, 279) else (3, "H")
            body = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(body) > 4:
                place = struct.pack(order + "I", len(content))
                content += body
                body = place
            packed.append(struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0"))
        packed = sorted([*packed, *page_raw], key=lambda e: struct.unpack(order + "H", e[:2]))
        content += bytes(len(content) % 2)
        content[link : link + 4] = struct.pack(order + "I", len(content))
        content += struct.pack(order + "H", len(packed)) + b"".join(packed)
        link = len(content)
        content += bytes(4)
    return bytes(content)


def packed_bits(numbers: np.ndarray, depth: int) -> bytes:
    """Rows of numbers of ``depth`` bits, the highest first, each row from a whole byte on."""
    rows = []
    for row in numbers.reshape(len(numbers), -1).tolist():
        text = "".join(f"{number:0{depth}b}" for number in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
    return b"".join(rows)


def exif(orientation: int, *, order: str = "<", broken: bool = False) -> bytes:
    """EXIF with an orientation and, if it is to be broken, entries that no reader can use."""
    entries = [struct.pack(order + "HHIHH", 0x112, 3, 1, orientation, 0)]
    if broken:
        entries.append(struct.pack(order + "HHII", 0x11A, 5, 1, 2**31))  # beyond the end
        entries.append(struct.pack(order + "HHII", 0x132, 99, 7, 7))  # of no known type
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
