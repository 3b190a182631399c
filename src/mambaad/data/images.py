"""Reading images, whatever their format, as 8-bit RGB, and resizing them to a model's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from mambaad.data.decoding import Decoded, decode
from mambaad.errors import DataError
from mambaad.types import Reading, Sample

AUTO = Reading()
_LARGEST = 65535


def read_image(path: Path, reading: Reading = AUTO) -> UInt8[np.ndarray, "h w 3"]:
    """Read an image as 8-bit RGB, turned upright as its EXIF orientation says.

    Deeper pixels are scaled linearly, so that ``reading``'s white becomes 255, and rounded; grey is
    repeated for the three channels; transparency is dropped.

    Raises:
        DataError: the file is not an image, is damaged, holds several pictures, or its pixels have
            another range than ``reading`` says.
    """
    return to_rgb(decode(path, reading.max_pixels), path, reading)


def read_sample_image(sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
    """Read the image of a data set's entry, as its data set is read (:func:`read_image`)."""
    return to_rgb(decode_sample(sample), sample.path, sample.reading)


def decode_sample(sample: Sample) -> Decoded:
    """Decode the image of a data set's entry, be it in a file or not (DataError)."""
    if sample.held is None:
        return decode(sample.path, sample.reading.max_pixels)
    decoded: Decoded = sample.held.decode(sample.reading)
    return decoded


def to_rgb(decoded: Decoded, path: Path, reading: Reading) -> UInt8[np.ndarray, "h w 3"]:
    """Make 8-bit RGB of a decoded image; ``path`` is for messages. See :func:`read_image`."""
    if decoded.image is not None:
        return np.asarray(rgb_of(decoded.image))
    colours = _colours(decoded, path)
    if colours.dtype.kind == "f":
        grey = _scaled_floats(colours, path, reading)
    else:
        grey = _scaled(colours, decoded.white or white_of(colours, path, reading))
    if decoded.is_inverted:
        grey = 255 - grey
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else np.ascontiguousarray(grey)


def check_pixels(decoded: Decoded, path: Path, reading: Reading) -> None:
    """Check that :func:`to_rgb` can read an image, without the work where it always can."""
    if decoded.image is None:
        to_rgb(decoded, path, reading)


def is_transparent(decoded: Decoded) -> bool:
    """Whether an image is transparent in places."""
    if decoded.wide is not None:
        alpha = decoded.wide[..., -1]
        return decoded.wide.shape[2] in (2, 4) and bool(alpha.min() < alpha.max())
    image = decoded.image
    if image is None or not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def depth_evidence(decoded: Decoded, path: Path) -> int | None:
    """Return the largest number of an image whose bit depth is open; None for any other image.

    Raises:
        DataError: numbers below 0, or of more than 16 bits.
    """
    if decoded.wide is None or decoded.white is not None or decoded.wide.dtype.kind == "f":
        return None
    colours = _colours(decoded, path)
    _check_whole(colours, path)
    return int(colours.max(initial=0))


def white_of(colours: Shaped[np.ndarray, "h w c"], path: Path, reading: Reading) -> int:
    """Return the number that is white, in an image that does not say so itself (DataError)."""
    _check_whole(colours, path)
    highest = int(colours.max(initial=0))
    if reading.bit_depth is None:
        if highest < 2**14:
            raise DataError(
                f"{path} has 16 bits a pixel, and values that end at {highest}: how many bits are "
                "in use cannot be known from one image; give --bit-depth 8, 10, 12, 14 or 16 when "
                "training"
            )
        return _LARGEST
    white: int = 2**reading.bit_depth - 1
    if highest > white:
        raise DataError(
            f"{path} has values of up to {highest}, expected at most {white} (--bit-depth "
            f"{reading.bit_depth}); convert it, or give a larger --bit-depth to the training"
        )
    return white


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


def rgb_of(image: Image.Image) -> Image.Image:
    """Convert an image of 8 bits a channel to RGB; its transparency is dropped."""
    if image.mode == "RGB":
        return image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # through RGBA: a palette may have transparent entries
    return image.convert("RGB")


def _colours(decoded: Decoded, path: Path) -> Shaped[np.ndarray, "h w c"]:
    """Take grey or RGB of a wide image, without its alpha."""
    assert decoded.wide is not None
    channels = decoded.wide.shape[2]
    if channels > 4:
        raise DataError(f"{path} has {channels} channels, expected grey or RGB; convert it")
    return decoded.wide[..., : 3 if channels >= 3 else 1]


def _check_whole(colours: Shaped[np.ndarray, "h w c"], path: Path) -> None:
    if colours.dtype != np.uint16 and colours.size:
        low, high = int(colours.min()), int(colours.max())
        if low < 0 or high > _LARGEST:
            raise DataError(
                f"{path} has pixels from {low} to {high}, expected 0 to {_LARGEST}; convert it to "
                "16-bit PNG"
            )


def _scaled(colours: Shaped[np.ndarray, "h w c"], white: int) -> UInt8[np.ndarray, "h w c"]:
    """Scale whole numbers so that ``white`` becomes 255, through a table: large images fit."""
    if colours.dtype == np.uint8 and white == 255:
        return np.array(colours, order="C")  # a copy
    numbers = np.arange(white + 1, dtype=np.uint32)
    table = ((numbers * 255 + white // 2) // white).astype(np.uint8)
    return np.asarray(table[colours])


def _scaled_floats(
    colours: Shaped[np.ndarray, "h w c"], path: Path, reading: Reading
) -> UInt8[np.ndarray, "h w c"]:
    if not np.isfinite(colours).all():
        raise DataError(f"{path} has floating-point pixels that are not finite; convert it")
    low, high = float(colours.min()), float(colours.max())
    found = f"floating-point pixels from {low:.6g} to {high:.6g}"
    if reading.float_range is None:
        raise DataError(
            f"{path} has {found}; say which values are black and white with --float-range, such "
            "as 0,1, or convert it to 16-bit PNG"
        )
    black, white = reading.float_range
    if low < black or high > white:
        raise DataError(
            f"{path} has {found}, expected {black:g} to {white:g} (--float-range); convert it, or "
            "give a wider range to the training"
        )
    shares = (colours.astype(np.float64) - black) / (white - black)
    return np.rint(shares * 255).astype(np.uint8)
