"""Pixels of an image by strips of rows, so that a large one need not be in memory as a whole.

Files are read so by libvips (the extra ``large``), where it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mambaad.data.containers import find_format
from mambaad.data.decoding import check_size
from mambaad.errors import DataError
from mambaad.files import open_regular
from mambaad.types import Reading

STREAMED = 2**26
"""Pixels from which on a file is read by strips, where it can be (192 MiB of RGB)."""
SHOWN = 4096
"""The longer side, in pixels, of what is kept to be seen of such an image."""
_START = 512
_LOADERS = {"PNG": "pngload", "JPEG": "jpegload", "TIFF": "tiffload"}
_UNUSUAL = ("interlaced", "palette", "palette-bit-depth", "n-subifds")
Pixels = UInt8[np.ndarray, "h w 3"]


@runtime_checkable
class Strips(Protocol):
    """An image whose rows are read from top to bottom."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def rows(self, top: int, bottom: int) -> Pixels:
        """Return the rows from ``top`` to before ``bottom``; neither is less than last time."""


class ArrayStrips:
    """The strips of an image that is in memory.

    Args:
        pixels: 8-bit RGB.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._pixels.shape[0], self._pixels.shape[1]

    def rows(self, top: int, bottom: int) -> Pixels:
        """See :meth:`Strips.rows`."""
        return self._pixels[top:bottom]


class FileStrips:
    """The strips of a file, decoded as they are asked for; each row once.

    Args:
        path: of the file.
        image: as libvips opened it, for reading from top to bottom.
    """

    def __init__(self, path: Path, image: Any) -> None:
        import pyvips

        self.shape: tuple[int, int] = (image.height, image.width)
        self._path, self._bands = path, image.bands
        self._region = pyvips.Region.new(image)
        self._top = 0
        self._kept: Pixels = np.empty((0, image.width, 3), np.uint8)

    def rows(self, top: int, bottom: int) -> Pixels:
        """See :meth:`Strips.rows`.

        Raises:
            DataError: the file is damaged there.
        """
        import pyvips

        end = self._top + len(self._kept)
        width = self.shape[1]
        try:
            while end < top:  # what is passed over is decoded too, a few rows at a time
                step = min(top - end, 256)
                self._region.fetch(0, end, width, step)
                end, self._top, self._kept = end + step, end + step, self._kept[:0]
            self._kept, self._top = self._kept[top - self._top :], top
            if bottom > end:
                fetched = self._region.fetch(0, end, width, bottom - end)
                new = np.frombuffer(fetched, np.uint8).reshape(bottom - end, width, self._bands)
                new = np.repeat(new, 3, axis=2) if self._bands == 1 else new
                self._kept = np.concatenate([self._kept, new])
        except pyvips.Error as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self._path} cannot be read as an image ({reason}); repair or remove it"
            ) from error
        return self._kept[: bottom - top]


def open_strips(path: Path, reading: Reading) -> FileStrips | None:
    """Open a large file for reading by strips; None if it is to be decoded as any other.

    So are images of fewer than :data:`STREAMED` pixels, and those that are not plain: anything but
    PNG, JPEG and TIFF, grey or RGB of 8 bits, upright, in one page; and all without libvips.

    Raises:
        DataError: too many pixels for ``reading``.
    """
    try:
        import pyvips
    except ImportError:
        return None
    try:
        with open_regular(path) as file:
            loader = _LOADERS.get(find_format(file.read(_START)) or "")
        if loader is None:
            return None
        # Again even if libvips has read it before: the file may have changed.
        load = getattr(pyvips.Image, loader)
        image = load(str(path), access="sequential", fail_on="error", revalidate=True)
    except (OSError, pyvips.Error):
        return None  # decoding says what is wrong with it
    if image.width * image.height < STREAMED or not _is_plain(image):
        return None
    check_size(path, (image.width, image.height), reading.max_pixels)
    return FileStrips(path, image)


def _is_plain(image: Any) -> bool:
    known = set(image.get_fields())
    values = {name: image.get(name) for name in ("orientation", "n-pages") if name in known}
    return (
        image.format == "uchar"
        and (image.bands, image.interpretation) in ((1, "b-w"), (3, "srgb"))
        and all(value == 1 for value in values.values())
        and not any(name in known and image.get(name) for name in _UNUSUAL)
    )


def reduced(strips: Strips) -> Pixels:
    """Shrink an image by a whole factor to at most :data:`SHOWN` pixels a side: means of squares.

    Reads all rows.
    """
    height, width = strips.shape
    factor = -(-max(height, width) // SHOWN)
    found = []
    for top in range(0, height, 64 * factor):
        strip = strips.rows(top, min(top + 64 * factor, height))
        found.append(np.asarray(Image.fromarray(strip).reduce(factor)))
    return np.concatenate(found)
