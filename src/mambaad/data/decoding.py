"""Decoding of image files: their numbers as they are stored, before anything is made of them."""

from __future__ import annotations

import errno
import io
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mambaad.data import tiff
from mambaad.data.containers import Container, Format, find_format, read_container
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular

# Only these decoders are tried, whatever the file's name: others run programs (EPS) or are rare.
# Not by Image.open, which warns of large images where warnings cannot be caught, in threads.
_OPEN: dict[Format, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_WHITE_IS_ZERO = 0
_START = 64
"""The bytes at the start of a file that are enough to recognise its format."""
_MOST_BYTES_OF_PIXEL = 32  # four doubles
_MOST_OTHER_BYTES = 2**26  # metadata, previews
_OTHER_ORDER = "B" if sys.byteorder == "little" else "L"


@dataclass(frozen=True)
class Decoded:
    """An image file's pixels, turned upright, as they are stored.

    One of the two is None. ``image``: of 8 bits or less a channel, in any of Pillow's modes.
    ``wide``: numbers of more than 8 bits, height x width x channels of grey or RGB, and perhaps
    alpha: uint16, int32, or floats of any size.
    ``white``: the number that is white, where the file says so (12 bits: 4095). ``is_inverted``:
    whether white is 0, and black the largest number. ``is_lossy``: see :class:`Container`.
    """

    image: Image.Image | None
    wide: Shaped[np.ndarray, "h w c"] | None = None
    white: int | None = None
    is_inverted: bool = False
    is_lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        if self.image is not None:
            return self.image.height, self.image.width
        assert self.wide is not None
        height, width, _ = self.wide.shape
        return height, width


def decode(path: Path, max_pixels: int) -> Decoded:
    """Read a file and decode it.

    Args:
        path: of the file, whose name may have any suffix.
        max_pixels: images with more are refused: a small file may hold a huge one.

    Raises:
        DataError: the file is not an image, is damaged, too large, holds several pictures, or has
            pixels without a clear meaning.
    """
    try:
        content = read_image_file(path, max_pixels)
    except OSError as error:
        raise DataError(cannot_read(path, error, "repair or remove it")) from error
    return decode_bytes(content, path, max_pixels)


def read_image_file(path: Path, max_pixels: int) -> bytes:
    """Read a file that may be an image; of any other its beginning, which shows that.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than an image of ``max_pixels``
            can be.
    """
    with open_regular(path) as file:
        start = file.read(_START)
        if find_format(start) is None:
            return start
        most = _MOST_OTHER_BYTES + _MOST_BYTES_OF_PIXEL * max_pixels
        content = start + file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return content


def decode_bytes(content: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode the content of a file; ``path`` is for messages. See :func:`decode`."""
    kind = find_format(content)
    if kind is None:
        raise DataError(
            f"{path} cannot be read as an image (expected one of {', '.join(_OPEN)}); repair or "
            "remove it"
        )
    container = read_container(content, kind)
    if container.pictures > 1:
        raise DataError(
            f"{path} has {container.pictures} {container.called}, and only one can be looked at; "
            "save each as a file of its own"
        )
    pages = tiff.directories(content) if kind == "TIFF" else []
    try:
        if pages and (decoded := _rare_tiff(content, pages[0], path, max_pixels)):
            return _turned(decoded, pages[0].get(tiff.ORIENTATION, (1,))[0])
        image = _OPEN[kind](io.BytesIO(container.content))
        _check_pixels(path, image.size, max_pixels)
        return _turned(_loaded(image, container, path), container.orientation)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError):
            raise DataError(f"{path} does not fit into memory; give a smaller image") from error
        if pages:
            reason += f": {_described(pages[0])}"
        raise DataError(
            f"{path} cannot be read as an image ({reason}); repair or remove it"
        ) from error


def _loaded(image: ImageFile.ImageFile, container: Container, path: Path) -> Decoded:
    """Decode an image that was opened."""
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    is_inverted = tags.get(tiff.PHOTOMETRIC) == _WHITE_IS_ZERO
    if image.mode == "LAB":
        raise DataError(f"{path} has colours in CIELAB, expected RGB or grey; convert it to RGB")
    wide = _wide_colours(image, container.content, path)
    if wide is not None:
        return Decoded(None, wide)
    if image.mode in _WIDE_MODES:
        bits = tags.get(tiff.BITS, (16,))[0]
        image.load()
        numbers = np.asarray(image)[..., None]
        return Decoded(None, numbers, 2**bits - 1 if bits < 16 else None, is_inverted)
    image.load()
    return Decoded(image, is_lossy=container.is_lossy)


def _wide_colours(
    image: ImageFile.ImageFile, content: bytes, path: Path
) -> Shaped[np.ndarray, "h w c"] | None:
    """Decode colours of 16 bits, of which Pillow keeps the upper byte; None if there are none.

    It is decoded twice: with the bytes of each number taken in the other order, what is kept are
    the lower ones.
    """
    modes = {_raw_mode(tile) for tile in image.tile}
    names = {mode.split(";")[0] for mode in modes if ";16" in mode}
    is_planar = getattr(image, "_planar_configuration", 1) == 2
    is_wide_tiff = isinstance(image, TiffImagePlugin.TiffImageFile) and 16 in image.tag_v2.get(
        tiff.BITS, ()
    )
    if image.mode not in ("RGB", "RGBA", "CMYK") or not (names or is_wide_tiff):
        return None
    if is_planar or not names <= {"RGB", "RGBX", "RGBA", "LA"}:
        raise DataError(
            f"{path} has 16-bit channels as {', '.join(sorted(modes))}, which cannot be read; "
            "convert it to 16-bit PNG"
        )
    if names == {"LA"}:  # of 4 bytes, as RGBA
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        parts = np.asarray(image).astype(np.uint16)
        return parts[..., ::2] << 8 | parts[..., 1::2]
    again = type(image)(io.BytesIO(content))
    image.load()
    upper = np.asarray(image).astype(np.uint16)
    again.tile = [_other_order(tile) for tile in again.tile]
    again.load()
    upper <<= 8
    upper |= np.asarray(again)
    return upper


def _raw_mode(tile: Any) -> str:
    return tile.args if isinstance(tile.args, str) else str(tile.args[0])


def _other_order(tile: Any) -> Any:
    mode = _raw_mode(tile)
    other = {"B": "L", "L": "B", "N": _OTHER_ORDER}[mode[-1]]
    swapped = mode[:-1] + other
    is_text = isinstance(tile.args, str)
    return tile._replace(args=swapped if is_text else (swapped, *tile.args[1:]))


def _rare_tiff(content: bytes, page: tiff.Directory, path: Path, max_pixels: int) -> Decoded | None:
    """Decode a TIFF whose type of pixels Pillow lacks; None if it has it, or we lack it too."""
    bits, kind = page.get(tiff.BITS, (1,)), page.get(tiff.SAMPLE_FORMAT, (1,))[0]
    channels = page.get(tiff.SAMPLES, (1,))[0]
    photometric = page.get(tiff.PHOTOMETRIC, (1,))[0]
    is_planar = channels > 1 and page.get(tiff.PLANAR, (1,))[0] == 2
    is_common_float = (bits[0], channels) == (32, 1) and page.get(tiff.PREDICTOR, (1,))[0] == 1
    is_rare_whole = 8 < bits[0] < 16 or (bits[0] == 16 and (is_planar or channels == 2))
    if photometric not in (0, 1, 2) or not (
        (kind == 3 and not is_common_float) or (kind == 1 and is_rare_whole)
    ):
        return None
    if page.get(tiff.WIDTH) and page.get(tiff.HEIGHT):
        _check_pixels(path, (page[tiff.WIDTH][0], page[tiff.HEIGHT][0]), max_pixels)
    try:
        samples = tiff.read_samples(content, page)
    except KeyError:
        return None
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if samples is None:
        return None
    white = 2 ** bits[0] - 1 if kind == 1 and bits[0] < 16 else None
    return Decoded(None, samples, white, photometric == _WHITE_IS_ZERO)


def _described(page: tiff.Directory) -> str:
    bits = page.get(tiff.BITS, (1,))
    numbers = {1: "whole numbers", 2: "signed numbers", 3: "floats"}
    kind = page.get(tiff.SAMPLE_FORMAT, (1,))[0]
    channels = page.get(tiff.SAMPLES, (len(bits),))[0]
    return (
        f"a TIFF of {channels} channels of {bits[0]}-bit {numbers.get(kind, 'numbers')}, "
        f"compression {page.get(tiff.COMPRESSION, (1,))[0]}, "
        f"photometric {page.get(tiff.PHOTOMETRIC, (0,))[0]}"
    )


def _check_pixels(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(
            f"{path} has {height} x {width} = {width * height} pixels, more than the "
            f"{max_pixels} that may be read; if it is right, give --max-pixels {width * height}"
        )


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    """Turn an image upright."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return decoded
    if decoded.image is not None:
        return Decoded(decoded.image.transpose(turn), is_lossy=decoded.is_lossy)
    assert decoded.wide is not None
    wide = _TURN_ARRAY[orientation](decoded.wide)
    return Decoded(None, wide, decoded.white, decoded.is_inverted)


_TURN_ARRAY: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
