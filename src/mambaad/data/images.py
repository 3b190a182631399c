"""Reading images and masks, whatever their format."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from mambaad.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; hidden files are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as 8-bit RGB, turned upright as its EXIF orientation says.

    16 bits are scaled from their full range, 65535 -> 255; grey is repeated for the three
    channels; transparency is dropped.

    Raises:
        DataError: the file is not an image, truncated, or of a pixel type without a meaning here.
    """
    image = _open(path)
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image).astype(np.int64)
        grey = ((deep.clip(0, 65535) * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(
            f"{path} has floating-point pixels, expected 8 or 16 bits; convert it to 16-bit PNG"
        )
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # through RGBA: a palette may have transparent entries
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """Read a ground-truth mask: True where any channel is above 0.

    Raises:
        DataError: see :func:`read_image`.
    """
    pixels = np.asarray(_open(path))
    if pixels.ndim == 3:
        # An alpha channel says nothing about defects.
        colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
        pixels = pixels[..., :colours].max(axis=2)
    return pixels > 0


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an upright image, from its header alone.

    Raises:
        DataError: the file is not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                turned = image.getexif().get(0x0112, 1) >= 5
    except Exception as error:
        raise _unreadable(path, error) from error
    return (width, height) if turned else (height, width)


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # A picture of some gigapixels is an attack or a mistake: refused, not warned of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{path} cannot be read as an image ({reason}); repair or remove it, or go on without "
        "such images with --skip-unreadable"
    )
