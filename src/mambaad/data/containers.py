"""What an image file holds beside its pixels: orientation, further pictures, and metadata.

Metadata that is broken must not make an image unreadable, and none of it changes pixels, so Pillow
is given files without it. What counts is read here: the orientation, and how many pictures there
are. A file that is not as its format says is passed on as it is: Pillow says what is wrong with it.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import Literal

from PIL import JpegImagePlugin

from mambaad.data import tiff

Format = Literal["PNG", "JPEG", "BMP", "TIFF", "WEBP"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS_OF_PNG = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")
_NEXT_OF_JPEG = re.compile(rb"\xff[\xc0-\xc4\xda-\xdd]")  # tables, a frame, a scan
_IMAGEJ = re.compile(rb"ImageJ=[^\0]{,200}?\nimages=(\d{1,6})\n")
_HEAD = 4096  # bytes of a file, among which ImageJ's description is
_COLOURS_OF_JPEG = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_REDUCED, _TRANSPARENCY = 1, 4  # bits of a TIFF page's kind: a smaller copy, and a mask of it


@dataclass(frozen=True)
class Container:
    """The content of an image file, as far as it concerns its pixels.

    ``content``: the file without metadata. ``orientation``: as EXIF numbers it, 1 to 8; 1 where it
    cannot be read. ``pictures``: how many there are to look at, previews not counted. ``called``:
    the format's word for several. ``is_lossy``: whether pixels are near what was saved only.
    """

    content: bytes
    orientation: int = 1
    pictures: int = 1
    called: str = "pictures"
    is_lossy: bool = False


def find_format(content: bytes) -> Format | None:
    """Recognise a format by a file's first bytes, whatever its name; None for any other."""
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"BM"):
        return "BMP"
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return None


def find_other_format(content: bytes) -> str | None:
    """Name a format that is not read, by a file's first bytes; None if it is unknown."""
    return next(
        (name for name, pattern in _OTHERS.items() if re.match(pattern, content, re.DOTALL)), None
    )


_OTHERS = {
    "GIF": rb"GIF8[79]a",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "AVIF": rb"....ftypavi[fs]",
    "HEIF": rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)",
    "PNM": rb"P[1-7fF]\s",
    "DICOM": rb".{128}DICM",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "Photoshop": rb"8BPS",
    "DDS": rb"DDS ",
    "icon": rb"\x00\x00[\x01\x02]\x00",
    "FITS": rb"SIMPLE  =",
    "NumPy array": rb"\x93NUMPY",
    "HDF5": rb"\x89HDF\r\n",
    "PDF": rb"%PDF-",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg)",
    "web page": rb"(?i)\s*<(?:!doctype html|html)",
    "Git LFS pointer": rb"version https://git-lfs",
    "Zip archive": rb"PK\x03\x04",
    "gzip archive": rb"\x1f\x8b",
}
"""What else is found under the names of images: how it begins."""


def read_container(content: bytes, kind: Format) -> Container:
    """Take a file apart; never raises."""
    try:
        if kind == "PNG":
            return _png(content)
        if kind == "JPEG":
            return _jpeg(content)
        if kind == "WEBP":
            return _webp(content)
        if kind == "TIFF":
            return _tiff(content)
    except (struct.error, IndexError, ValueError):
        pass  # damaged
    return Container(content, is_lossy=kind == "JPEG")


def _png(content: bytes) -> Container:
    kept: list[bytes | memoryview] = [_PNG]
    exif = xmp = b""
    frames, at, view = 1, len(_PNG), memoryview(content)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            kept.append(view[at:])  # cut short: Pillow says so
            break
        if name in _PIXELS_OF_PNG:
            kept.append(view[at:end])
        elif name == b"eXIf":
            exif = content[at + 8 : end - 4]
        elif name == b"iTXt" and content[at + 8 : at + 26] == b"XML:com.adobe.xmp\0":
            xmp = content[at + 8 : end - 4]
        elif name == b"acTL" and length >= 4:
            (frames,) = struct.unpack_from(">I", content, at + 8)
        at = end
        if name == b"IEND":
            break
    return Container(b"".join(kept), _orientation(exif, xmp), max(frames, 1), "frames")


def _jpeg(content: bytes) -> Container:
    kept: list[bytes | memoryview] = [content[:2]]
    exif = xmp = b""
    pictures, at, view = 1, 2, memoryview(content)
    while True:
        while content[at] == 0xFF and content[at + 1] == 0xFF:
            at += 1  # filling
        if content[at] != 0xFF:  # the length of what came before was wrong
            found = _NEXT_OF_JPEG.search(content, at)
            if found is None:
                return Container(content, is_lossy=True)
            at = found.start()
        marker = content[at + 1]
        if marker == 0xDA:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        data = content[at + 4 : min(end, at + 40)]
        # Of the application's segments, JFIF's and Adobe's say how colours are stored.
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            begins = _COLOURS_OF_JPEG.get(marker)
            if begins and data.startswith(begins) and length >= 14:
                kept.append(view[at:end])
            elif data.startswith(b"Exif\0\0"):
                exif = exif or content[at + 10 : end]
            elif data.startswith(b"http://ns.adobe.com/xap/"):
                xmp = content[at + 4 : end]
            elif data.startswith(b"MPF\0"):
                pictures = _pictures_of_jpeg(content, at + 8, end)
        else:
            kept.append(view[at:end])
        at = end
    kept.append(view[at:])
    return Container(b"".join(kept), _orientation(exif, xmp), pictures, "pictures", is_lossy=True)


def _pictures_of_jpeg(content: bytes, start: int, end: int) -> int:
    """Count the pictures of a multi-picture file (CIPA DC-007) that are as large as the first.

    Cameras add smaller ones: previews, and maps of brightness.
    """
    index = content[start:end]
    order = tiff.byte_order(index)
    if order is None:
        return 1
    (at,) = struct.unpack_from(order + "I", index, 4)
    (count,) = struct.unpack_from(order + "H", index, at)
    entries = [struct.unpack_from(order + "HHII", index, at + 2 + 12 * i) for i in range(count)]
    table = next(((size, place) for tag, _, size, place in entries if tag == 0xB002), None)
    if table is None:
        return 1
    first = _size_of_jpeg(content)
    pictures = 1
    for i in range(1, table[0] // 16):
        _, _, offset = struct.unpack_from(order + "III", index, table[1] + 16 * i)
        pictures += _size_of_jpeg(content[start + offset :]) == first
    return pictures


def _size_of_jpeg(content: bytes) -> tuple[int, int] | None:
    try:
        return JpegImagePlugin.JpegImageFile(io.BytesIO(_bare_jpeg(content))).size
    except Exception:  # whatever Pillow meets
        return None


def _bare_jpeg(content: bytes) -> bytes:
    """Leave out all segments of metadata, so that Pillow looks at the frame's alone."""
    at = 2
    while content[at : at + 1] == b"\xff" and (
        0xE0 <= content[at + 1] <= 0xEF or content[at + 1] == 0xFE
    ):
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return content[:2] + content[at:]


def _webp(content: bytes) -> Container:
    exif = xmp = b""
    frames, is_lossy, at = 0, True, 12
    while at + 8 <= len(content):
        name, (length,) = content[at : at + 4], struct.unpack_from("<I", content, at + 4)
        data = at + 8
        if name == b"EXIF":
            exif = content[data : data + length]
        elif name == b"XMP ":
            xmp = content[data : data + length]
        elif name == b"ANMF":
            frames += 1
        elif name == b"VP8L":
            is_lossy = False
        at = data + length + length % 2
    exif = exif.removeprefix(b"Exif\0\0")
    return Container(content, _orientation(exif, xmp), max(frames, 1), "frames", is_lossy)


def _tiff(content: bytes) -> Container:
    pages = tiff.directories(content)
    pictures = 1 + sum(not _is_copy(page) for page in pages[1:])
    if pages and _kind(pages[0]) & _REDUCED and (pages[1:] or tiff.SUBDIRECTORIES in pages[0]):
        pictures += 1  # the first is a preview of another
    for start in pages[0].get(tiff.SUBDIRECTORIES, ()) if pages else ():
        below = tiff.directories(content, start)
        pictures += sum(not _is_copy(p) and _size(p) == _size(pages[0]) for p in below)
    stack = _IMAGEJ.search(content[:_HEAD]) if len(pages) == 1 else None
    if stack:  # ImageJ writes one directory for a large stack
        pictures = max(pictures, int(stack[1]))
    is_lossy = bool(pages) and pages[0].get(tiff.COMPRESSION, (1,))[0] in (6, 7)
    bare = tiff.without_metadata(content)
    # What is not taken out is applied by Pillow.
    orientation = 1 if bare is content else _orientation(content, b"")
    return Container(bare, orientation, pictures, "pages", is_lossy)


def _kind(page: tiff.Directory) -> int:
    return page.get(tiff.SUBFILE, (0,))[0]


def _is_copy(page: tiff.Directory) -> bool:
    """Whether a page is a smaller copy of another one, or its transparency."""
    return bool(_kind(page) & (_REDUCED | _TRANSPARENCY))


def _size(page: tiff.Directory) -> tuple[int, int]:
    return page.get(tiff.WIDTH, (0,))[0], page.get(tiff.HEIGHT, (0,))[0]


def _orientation(exif: bytes, xmp: bytes) -> int:
    """Read the orientation, from EXIF or else from XMP; 1 where there is none to be read."""
    pages = tiff.directories(exif)
    found = pages[0].get(tiff.ORIENTATION, (0,))[0] if pages else 0
    if not found and (match := _XMP_ORIENTATION.search(xmp)):
        found = int(match[1])
    return found if 1 <= found <= 8 else 1
