"""Resizing of masks to the size of the model's maps, as each protocol does it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image


def resize_mask_nearest(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask to the map's size as the ``exact`` protocol does: nearest pixel."""
    return _resize(mask, height, width, Image.Resampling.NEAREST) > 0


def resize_mask_bilinear(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask as the ``ader-paper`` protocol does: bilinear, then above one half."""
    return _resize(mask, height, width, Image.Resampling.BILINEAR) > 127


def _resize(
    mask: Bool[np.ndarray, "h w"], height: int, width: int, how: Image.Resampling
) -> UInt8[np.ndarray, "h2 w2"]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((width, height), how))
