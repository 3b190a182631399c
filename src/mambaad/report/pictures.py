"""The pictures of the pages: an image, and layers over it that a page shows or hides."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from mambaad.inspection.overlay import heatmap_layer, outline_layer

SIDE = 640
"""The longer side of a picture, in pixels: enlarged it still shows what the model saw."""
FOUND, TRUE = (64, 224, 255), (130, 255, 90)
"""Colours of outlines, cyan and green: of what the model found, and of the true defect."""


@dataclass(frozen=True)
class Shot:
    """A picture as a page refers to it: addresses, or "" for what it does not have.

    ``image``: the photograph. ``heat``, ``outline``, ``truth``: layers over it, stretched to its
    size: the heatmap, the outlines of what was found, and of the true defect. ``ratio``: width
    over height.
    """

    image: str
    heat: str = ""
    outline: str = ""
    truth: str = ""
    ratio: float = 1.0


def image_file(pixels: UInt8[np.ndarray, "h w 3"], side: int = SIDE) -> bytes:
    """Encode an image as JPEG, shrunk to at most ``side`` pixels high and wide."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return _encoded(image, "JPEG", quality=85)


def heat_file(anomaly_map: Float[np.ndarray, "h w"], heatmap_range: tuple[float, float]) -> bytes:
    """Encode an anomaly map as a transparent layer, WebP of the map's size.

    See :func:`mambaad.inspection.overlay.heatmap_layer`.
    """
    return _encoded(Image.fromarray(heatmap_layer(anomaly_map, heatmap_range)), "WEBP", quality=80)


def outline_file(
    mask: Bool[np.ndarray, "h w"],
    shape: tuple[int, int],
    colour: tuple[int, int, int] = FOUND,
    side: int = SIDE,
) -> bytes:
    """Encode the outlines of a mask's regions as a transparent layer, PNG.

    Args:
        mask: True inside the regions.
        shape: height and width of the image that it is laid over.
        colour: red, green, blue.
        side: of the picture, see :func:`image_file`.
    """
    shrink = min(side / max(shape), 1.0)
    height, width = (max(round(shrink * length), 1) for length in shape)
    return _encoded(Image.fromarray(outline_layer(mask, (height, width), colour)), "PNG")


def shot_inside(
    pixels: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h2 w2"],
    heatmap_range: tuple[float, float],
    *,
    found: Bool[np.ndarray, "h3 w3"] | None = None,
    true: Bool[np.ndarray, "h4 w4"] | None = None,
    side: int = SIDE,
) -> Shot:
    """Make a picture of data URLs, for a page that is one file.

    Args:
        pixels: 8-bit RGB.
        anomaly_map: float32, of any size.
        heatmap_range: its values at both ends of the colours.
        found, true: masks of what was found, and of the true defect; None if there are none.
        side: of the picture, see :func:`image_file`.
    """
    shape = pixels.shape[0], pixels.shape[1]
    return Shot(
        data_url(image_file(pixels, side), "jpeg"),
        data_url(heat_file(anomaly_map, heatmap_range), "webp"),
        _outline_url(found, shape, FOUND, side),
        _outline_url(true, shape, TRUE, side),
        shape[1] / shape[0],
    )


def data_url(content: bytes, kind: str) -> str:
    """Write an image file as an address that holds it; ``kind``: such as ``"jpeg"``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _outline_url(
    mask: Bool[np.ndarray, "h w"] | None,
    shape: tuple[int, int],
    colour: tuple[int, int, int],
    side: int,
) -> str:
    if mask is None or not mask.any():
        return ""
    return data_url(outline_file(mask, shape, colour, side), "png")


def _encoded(image: Image.Image, kind: str, **how: int) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **how)
    return file.getvalue()
