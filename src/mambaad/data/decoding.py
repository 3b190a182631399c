"""Decoding of image files: their numbers as they are stored, before anything is made of them."""

from __future__ import annotations

import io
import re
import sys
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
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

from mambaad.data import png, tiff, tiff_kinds
from mambaad.data.containers import (
    Container,
    Format,
    find_format,
    find_other_format,
    read_container,
)
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular, read_rest

# What Pillow finds odd in a TIFF: it is read or refused all the same. By a filter of the process,
# since warnings cannot be caught in threads.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")

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
_NO_KIND = re.compile("unsupported|unknown|cannot handle", re.IGNORECASE)
_NO_KIND_OF_TIFF = (SyntaxError, LookupError)
"""What Pillow raises, or says, of kinds that it does not know."""
_START = 512
"""The bytes at the start of a file that are enough to recognise its format."""
_MOST_BYTES_OF_PIXEL = 32  # four doubles
_MOST_OTHER_BYTES = 2**26  # metadata, previews
_OTHER_ORDER = "B" if sys.byteorder == "little" else "L"


@dataclass(frozen=True)
class Decoded:
    """An image file's pixels, turned upright, as they are stored.

    One of the two is None. ``image``: of 8 bits or less a channel, in any of Pillow's modes.
    ``wide``: numbers of more than 8 bits, height x width x channels of grey or RGB, and perhaps
    alpha: uint16, int32, or floats of any size; or uint8 of an array that a program gives.
    ``white``: the number that is white, where the file says so (12 bits: 4095). ``is_inverted``:
    whether white is 0, and black the largest number. ``is_lossy``: see :class:`Container`.
    ``orientation``: what it was turned by, as EXIF numbers it: 1 where it was not.
    """

    image: Image.Image | None
    wide: Shaped[np.ndarray, "h w c"] | None = None
    white: int | None = None
    is_inverted: bool = False
    is_lossy: bool = False
    orientation: int = 1

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
        file.seek(0)
        return read_rest(file, _MOST_OTHER_BYTES + _MOST_BYTES_OF_PIXEL * max_pixels)


def decode_bytes(content: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode the content of a file; ``path`` is for messages. See :func:`decode`."""
    kind = find_format(content)
    if kind is None:
        if other := find_other_format(content):
            raise DataError(
                f"{path} is a file of the format {other}, expected one of {', '.join(_OPEN)}; "
                "convert it to PNG"
            )
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
    if pages and (what := tiff_kinds.unclear(content, pages[0])):
        raise DataError(f"{path} has {what}; convert it to PNG")
    try:
        if pages and (decoded := _rare_tiff(content, pages[0], path, max_pixels)):
            return turned(decoded, pages[0].get(tiff.ORIENTATION, (1,))[0])
        image = _opened(kind, container.content)
        check_size(path, image.size, max_pixels)
        decoded = _loaded(image, container, path)
        _check_whole(image, container.content)
        decoded = turned(decoded, container.orientation)
        if kind == "TIFF" and pages and container.content is content:  # turned by Pillow
            return replace(decoded, orientation=pages[0].get(tiff.ORIENTATION, (1,))[0])
        return decoded
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError):
            raise DataError(f"{path} does not fit into memory; give a smaller image") from error
        if pages:
            what = tiff_kinds.described(content, pages[0])
            if _NO_KIND.match(reason) or isinstance(error, _NO_KIND_OF_TIFF):
                raise DataError(
                    f"{path} is {what}, which cannot be read; convert it to PNG"
                ) from error
            reason += f": {what}"
        elif _NO_KIND.match(reason):
            raise DataError(
                f"{path} is a {kind} of a kind that cannot be read ({reason}); convert it to PNG"
            ) from error
        raise DataError(
            f"{path} cannot be read as an image ({reason}); repair or remove it"
        ) from error


def _opened(kind: Format, content: bytes) -> ImageFile.ImageFile:
    """Open an image; a fourth channel that a TIFF does not name is mostly transparency."""
    image = _OPEN[kind](io.BytesIO(content))
    modes = [_raw_mode(tile) for tile in image.tile]
    if image.mode == "RGB" and kind == "TIFF" and all(m[:4] == "RGBX" for m in modes):
        image._mode = "RGBA"
        image.tile = [
            _with_mode(tile, mode.replace("RGBX", "RGBA"))
            for tile, mode in zip(image.tile, modes, strict=True)
        ]
    return image


def _loaded(image: ImageFile.ImageFile, container: Container, path: Path) -> Decoded:
    """Decode an image that was opened."""
    wide = None if image.mode == "LAB" else _wide_colours(image, container.content, path)
    return Decoded(None, wide) if wide is not None else loaded(image, path, container.is_lossy)


def loaded(image: Image.Image, path: Path, is_lossy: bool = False) -> Decoded:
    """Take the pixels of a Pillow image as they are stored, not turned; ``path`` is for messages.

    Of colours of 16 bits Pillow keeps the upper 8.
    """
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode == "LAB":
        raise DataError(f"{path} has colours in CIELAB, expected RGB or grey; convert it to RGB")
    if image.mode in _WIDE_MODES:
        bits = tags.get(tiff.BITS, (16,))[0]
        is_inverted = tags.get(tiff.PHOTOMETRIC) == tiff_kinds.GREY_WHITE_IS_ZERO
        image.load()
        numbers = np.asarray(image)[..., None]
        return Decoded(None, numbers, 2**bits - 1 if bits < 16 else None, is_inverted)
    image.load()
    if isinstance(alphas := image.info.get("transparency"), bytes):
        image.info["transparency"] = alphas[:256]  # Pillow fails on those of no colour
    return Decoded(image, is_lossy=is_lossy)


def _check_whole(image: ImageFile.ImageFile, content: bytes) -> None:
    """Refuse what Pillow fills with 0 in silence: lacking rows, and colours (ValueError)."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        last = np.asarray(image.crop((0, max(image.height - 2, 0), *image.size)))
        # The last rows, interlaced or not, are the last in the file too: mostly they are not black.
        if not all(row.any() for row in last):
            png.check_complete(content)
    if image.mode == "P" and image.palette is not None:
        colours = len(image.palette.palette) // len(image.palette.mode)
        highest: Any = image.getextrema()[1]
        if highest >= colours:
            raise ValueError(f"its palette has {colours} colours, and pixels go to {highest}")


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
    if isinstance(image, BmpImagePlugin.BmpImageFile):
        return None  # its 16 bits are those of all channels
    if image.mode not in ("RGB", "RGBA", "CMYK") or not (names or is_wide_tiff):
        return None
    if is_planar or not names <= {"RGB", "RGBX", "RGBA", "LA"}:
        what = tiff_kinds.described(content, tiff.directories(content)[0])
        raise DataError(f"{path} is {what}, which cannot be read; convert it to PNG")
    if names == {"LA"}:  # of 4 bytes, as RGBA
        image.tile = [_with_mode(tile, "RGBA") for tile in image.tile]
        image.load()
        parts = np.asarray(image).astype(np.uint16)
        return parts[..., ::2] << 8 | parts[..., 1::2]
    again = _opened("TIFF" if isinstance(image, TiffImagePlugin.TiffImageFile) else "PNG", content)
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
    return _with_mode(tile, mode[:-1] + other)


def _with_mode(tile: Any, mode: str) -> Any:
    return tile._replace(args=mode if isinstance(tile.args, str) else (mode, *tile.args[1:]))


def _rare_tiff(content: bytes, page: tiff.Directory, path: Path, max_pixels: int) -> Decoded | None:
    """Decode a TIFF whose type of pixels Pillow lacks; None if it has it, or we lack it too."""
    bits, kind = page.get(tiff.BITS, (1,)), page.get(tiff.SAMPLE_FORMAT, (1,))[0]
    channels = page.get(tiff.SAMPLES, (1,))[0]
    photometric = page.get(tiff.PHOTOMETRIC, (1,))[0]
    is_planar = channels > 1 and page.get(tiff.PLANAR, (1,))[0] == 2
    is_common_float = (bits[0], channels) == (32, 1) and page.get(tiff.PREDICTOR, (1,))[0] == 1
    is_inverted = photometric == tiff_kinds.GREY_WHITE_IS_ZERO
    is_rare = is_planar or channels == 2 or (is_inverted and tiff.byte_order(content) == ">")
    is_rare_whole = 8 < bits[0] < 16 or (bits[0] == 16 and is_rare)
    if photometric not in (0, 1, 2) or not (
        (kind == 3 and not is_common_float) or (kind == 1 and is_rare_whole)
    ):
        return None
    if page.get(tiff.WIDTH) and page.get(tiff.HEIGHT):
        check_size(path, (page[tiff.WIDTH][0], page[tiff.HEIGHT][0]), max_pixels)
    try:
        samples = tiff.read_samples(content, page)
    except KeyError:
        return None
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if samples is None:
        return None
    white = 2 ** bits[0] - 1 if kind == 1 and bits[0] < 16 else None
    return Decoded(None, samples, white, is_inverted)


def check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse an image, of a width and a height, that has too many pixels (DataError)."""
    width, height = size
    if width * height > max_pixels:
        raise DataError(
            f"{path} has {height} x {width} = {width * height} pixels, more than the "
            f"{max_pixels} that may be read; if it is right, give --max-pixels {width * height}"
        )


def turned(decoded: Decoded, orientation: int) -> Decoded:
    """Turn an image upright, whose orientation is given as EXIF numbers it."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return decoded
    if decoded.image is not None:
        return replace(decoded, image=decoded.image.transpose(turn), orientation=orientation)
    assert decoded.wide is not None
    wide = _TURN_ARRAY[orientation](decoded.wide)
    return replace(decoded, wide=wide, orientation=orientation)


_TURN_ARRAY: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
