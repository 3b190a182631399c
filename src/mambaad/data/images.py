"""Reading images and masks, whatever their format, and resizing images to a model's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mambaad.errors import DataError

# Only these decoders are tried, whatever the file's name: others run programs (EPS) or are rare.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as 8-bit RGB, turned upright as its EXIF orientation says.

    16 bits are scaled from their full range, 65535 -> 255 (rounded for grey; for colour, Pillow
    takes the upper byte); grey is repeated for the three channels; transparency is dropped.

    Raises:
        DataError: the file is not an image, is truncated, or has an unsupported pixel type.
    """
    image = _open(path)
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image).astype(np.int64)
        if deep.size and (deep.min() < 0 or deep.max() > 65535):
            raise DataError(
                f"{path} has pixels from {deep.min()} to {deep.max()}, expected 0 to 65535; "
                "convert it to 16-bit PNG"
            )
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise DataError(
            f"{path} has floating-point pixels, expected 8 or 16 bits; convert it to 16-bit PNG"
        )
    return np.asarray(_rgb(image))


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resize a whole image to a height and width in pixels, whatever its shape.

    Bilinear and antialiased, as torchvision's ``Resize`` does with a Pillow image. The result
    cannot be written to: copy it for ``torch.from_numpy``.
    """
    height, width = size
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def read_mask(path: Path) -> Bool[np.ndarray, "h w"]:
    """Read a ground-truth mask, turned upright: True where any colour channel is above 0.

    Raises:
        DataError: see :func:`read_image`.
    """
    image = _open(path)
    if image.mode in ("1", "L", "F", *_DEEP_MODES):
        positive: Bool[np.ndarray, "h w"] = np.asarray(image) > 0
        return positive
    # Colours mark defects; indices of a palette and an alpha channel do not.
    coloured: Bool[np.ndarray, "h w"] = np.any(np.asarray(_rgb(image)), axis=2)
    return coloured


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # Pillow only warns of this, and warnings' filters cannot be changed from threads.
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels are more than the {limit} of "
                    "PIL.Image.MAX_IMAGE_PIXELS"
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise _unreadable(path, error) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # through RGBA: a palette may have transparent entries
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = f"expected one of {', '.join(_FORMATS)}"
    return DataError(f"{path} cannot be read as an image ({reason}); repair or remove it")
