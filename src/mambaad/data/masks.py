"""Masks and anomaly maps at one size, as each protocol compares them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def resize_mask_nearest(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask to the map's size: nearest pixel."""
    return _resize(mask, height, width, Image.Resampling.NEAREST) > 0


def resize_mask_keeping(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> tuple[Bool[np.ndarray, "h2 w2"], int]:
    """Resize a mask to the map's size: nearest pixel, but no region of it vanishes.

    Returns:
        The mask, and how many regions had no pixel left: each was given one.
    """
    resized = resize_mask_nearest(mask, height, width)
    lost = lost_regions(mask, resized)
    resized[lost[:, 0], lost[:, 1]] = True
    return resized, len(lost)


def resize_mask_bilinear(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask as the ``ader-paper`` protocol does: bilinear, then above one half."""
    return _resize(mask, height, width, Image.Resampling.BILINEAR) > 127


def resize_map(
    anomaly_map: Float[np.ndarray, "h w"], height: int, width: int
) -> Float[np.ndarray, "h2 w2"]:
    """Resize an anomaly map to a mask's size: bilinear, float32."""
    image = Image.fromarray(np.asarray(anomaly_map, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def lost_regions(
    mask: Bool[np.ndarray, "h w"], resized: Bool[np.ndarray, "h2 w2"]
) -> Int[np.ndarray, "lost 2"]:
    """Find the regions of a mask that have no pixel left after resizing.

    A region is 8-connected; it is left if one of its pixels lies in a marked pixel of ``resized``.

    Returns:
        For each lost region a row and a column of ``resized``: where its pixel nearest to its
        centre lies.
    """
    rows, columns = np.nonzero(mask)
    scale = np.asarray(resized.shape) / np.asarray(mask.shape)
    places = np.stack([rows, columns], axis=1)
    cells = ((places + 0.5) * scale).astype(np.int64)
    is_left = resized[cells[:, 0], cells[:, 1]]
    if is_left.all():
        return np.empty((0, 2), np.int64)
    from scipy.ndimage import label  # half a second, for which most masks need not wait

    regions, count = label(mask, _EIGHT_CONNECTED)
    of_place = regions[rows, columns]
    lost = np.setdiff1d(np.arange(1, count + 1), of_place[is_left])
    found = []
    for region in lost:
        of_region = of_place == region
        offsets = places[of_region] - places[of_region].mean(axis=0)
        found.append(cells[of_region][np.square(offsets).sum(axis=1).argmin()])
    return np.asarray(found, np.int64).reshape(-1, 2)


def _resize(
    mask: Bool[np.ndarray, "h w"], height: int, width: int, how: Image.Resampling
) -> UInt8[np.ndarray, "h2 w2"]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((width, height), how))
