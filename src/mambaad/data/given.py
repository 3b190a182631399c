"""Images as a Python program has them: encoded bytes, Pillow images, arrays and tensors.

They become what decoding a file gives, so that all that follows is the same as for files.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from mambaad.data.decoding import Decoded, check_size, decode_bytes, loaded, turned
from mambaad.data.images import depth_evidence, to_rgb
from mambaad.errors import ConfigError, DataError, MambaADError
from mambaad.types import Reading

Color = Literal["rgb", "bgr"]

_ORIENTATION = 0x0112  # the tag of EXIF
_CHANNELS = (1, 2, 3, 4)  # grey, grey and alpha, RGB, RGBA
_LARGEST = 65535
_SURELY_16_BITS = 2**14
_EXPECTED = "expected a path, bytes of an image file, a Pillow image, a NumPy array or a tensor"


@runtime_checkable
class Tensor(Protocol):
    """A ``torch.Tensor``; this module does not load PyTorch."""

    def detach(self) -> Any:
        """Itself, without gradient."""

    def permute(self, *dims: int) -> Any:
        """Itself, with its axes in another order."""


def check_color(color: str) -> None:
    """Refuse an unknown order of channels (ConfigError)."""
    if color not in ("rgb", "bgr"):
        raise ConfigError(f"color: expected 'rgb' or 'bgr', got {color!r}")


def check_float_range(bounds: Any) -> None:
    """Refuse what is not two numbers, the values of black and of white (ConfigError)."""
    is_pair = isinstance(bounds, (tuple, list)) and len(bounds) == 2
    if not is_pair or not all(isinstance(b, (int, float, np.number)) for b in bounds):
        raise ConfigError(f"float_range: expected two numbers such as (0, 1), got {bounds!r}")
    if not -np.inf < bounds[0] < bounds[1] < np.inf:
        raise ConfigError(f"float_range: expected black below white, got {bounds!r}")


def given_pixels(
    image: Any,
    name: str,
    reading: Reading,
    *,
    color: Color = "rgb",
    float_range: tuple[float, float] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Make 8-bit RGB, in memory of its own, of an image; see :func:`decode_given`.

    Raises:
        ConfigError, DataError: see there; or whole numbers whose bit depth is not known.
    """
    decoded = decode_given(image, name, reading, color=color, float_range=float_range)
    highest = depth_evidence(decoded, Path(name)) if reading.bit_depth is None else None
    if highest is not None and highest < _SURELY_16_BITS:
        raise ConfigError(
            f"{name} has 16 bits a pixel, and values that end at {highest}: how many bits are in "
            "use cannot be known from one image; give bit_depth=8, 10, 12, 14 or 16, or uint8"
        )
    return to_rgb(decoded, Path(name), reading)


def decode_given(
    image: Any,
    name: str,
    reading: Reading,
    *,
    color: Color = "rgb",
    float_range: tuple[float, float] | None = None,
) -> Decoded:
    """Take an image as it would be decoded from a file.

    Args:
        image: bytes of an image file; a Pillow image, turned as its EXIF says; a NumPy array, h x w
            or h x w x c; or a torch tensor, h x w or c x h x w, on any device. c is 1 (grey), 2
            (grey and alpha), 3 or 4 (alpha, which is dropped). Numbers are bool, whole or floats.
        name: of the image, for messages.
        reading: how numbers of more than 8 bits, and floats, are read.
        color: the order of an array's or a tensor's channels.
        float_range: the values of black and white in floats; else those of ``reading``, and for
            tensors 0 and 1.

    Raises:
        ConfigError: something else, another shape or type, or floats whose range is not known.
        DataError: bytes that are no image, or values out of range.
    """
    check_color(color)
    stated = float_range or ((0.0, 1.0) if is_tensor(image) else reading.float_range)
    if isinstance(image, (bytes, bytearray, memoryview)):
        _check_rgb(color, name)
        return decode_bytes(bytes(image), Path(name), reading.max_pixels)
    if isinstance(image, Image.Image):
        _check_rgb(color, name)
        return _decode_pillow(image, name, replace(reading, float_range=stated))
    if is_tensor(image):
        array = _array_of(image, name)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        hint = "; cv2.imread gives None for a file that it cannot read" if image is None else ""
        raise ConfigError(f"{name} is of type {type(image).__name__}, {_EXPECTED}{hint}")
    return _decode_array(array, name, replace(reading, float_range=stated), color)


def is_tensor(image: object) -> bool:
    """Whether something is a tensor of PyTorch, which is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _check_rgb(color: Color, name: str) -> None:
    if color != "rgb":
        raise ConfigError(
            f"color: {name} is a file or a Pillow image, which says itself what its channels are; "
            "omit color, or give an array"
        )


def _decode_pillow(image: Image.Image, name: str, reading: Reading) -> Decoded:
    path = Path(name)
    if (pictures := getattr(image, "n_frames", 1)) > 1:
        raise DataError(
            f"{name} has {pictures} pictures, and only one can be looked at; give image.copy() "
            "where it shows the one that is meant"
        )
    if not all(image.size):
        raise ConfigError(f"{name} is {image.width} x {image.height} pixels, expected some")
    check_size(path, image.size, reading.max_pixels)
    try:
        whole = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)  # alpha is multiplied in
        decoded = loaded(image.convert(whole) if whole else image, path)
        if decoded.wide is not None and decoded.wide.dtype.kind == "f":
            decoded = _scaled(decoded.wide, name, reading)
        return turned(decoded, int(image.getexif().get(_ORIENTATION, 1)))
    except MambaADError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} is a Pillow image that cannot be read ({reason})") from error


def _array_of(tensor: Any, name: str) -> Shaped[np.ndarray, "*shape"]:
    """Take a tensor's numbers, channels last."""
    torch = sys.modules["torch"]
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise ConfigError(
            f"{name} is a tensor of {tensor.layout} and {tensor.dtype}, expected a plain one of "
            "uint8, or of floats from 0 to 1"
        )
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] not in _CHANNELS:
        hint = "; it is height x width x channels: give image.permute(2, 0, 1)"
        raise ConfigError(
            f"{name} is a tensor of shape {shape}, expected channels x height x width"
            f"{hint if shape[2] in _CHANNELS else ''}"
        )
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray((tensor.permute(1, 2, 0) if len(shape) == 3 else tensor).numpy())


def _decode_array(
    array: Shaped[np.ndarray, "*shape"], name: str, reading: Reading, color: Color
) -> Decoded:
    _check_shape(array.shape, name)
    kind = array.dtype.kind
    if kind not in "buif":
        raise ConfigError(
            f"{name} is an array of type {array.dtype}, expected uint8, uint16 or floats"
        )
    array = array[..., None] if array.ndim == 2 else array
    if color == "bgr" and array.shape[2] >= 3:
        array = array[..., ::-1] if array.shape[2] == 3 else array[..., [2, 1, 0, 3]]
    if kind == "b":
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return Decoded(None, array, white=255)
    colours = array[..., : 3 if array.shape[2] >= 3 else 1]
    if kind == "f":
        return _scaled(colours, name, reading)
    low, high = colours.min(), colours.max()
    if low < 0 or high > _LARGEST:
        raise DataError(f"{name} has values from {low} to {high}, expected 0 to {_LARGEST}")
    return Decoded(None, array.astype(np.uint16))


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    is_image = len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS)
    if is_image and 0 not in shape:
        return
    hint = ""
    if len(shape) == 4:
        hint = "; of several images give a list: list(images)"
    elif len(shape) == 3 and shape[0] in _CHANNELS:
        hint = "; it is channels x height x width: give image.transpose(1, 2, 0)"
    raise ConfigError(
        f"{name} has shape {shape}, expected height x width, or height x width x 1 to 4 channels"
        f"{hint}"
    )


def _scaled(array: Shaped[np.ndarray, "h w c"], name: str, reading: Reading) -> Decoded:
    """Bring floats to 8 bits, as those of a file are."""
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{name} has values that are not finite, expected numbers")
    found = f"{name} has floating-point values from {low:.6g} to {high:.6g}"
    if reading.float_range is None:
        raise ConfigError(
            f"{found}; say which are black and white, such as float_range=(0, 1) or (0, 255)"
        )
    black, white = reading.float_range
    if low < black or high > white:
        raise DataError(
            f"{found}, expected {black:g} to {white:g}; give it before it is normalised, or state "
            "its black and white with float_range"
        )
    return Decoded(None, to_rgb(Decoded(None, array), Path(name), reading), white=255)
