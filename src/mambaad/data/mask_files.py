"""Reading ground-truth masks, by what their values are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from mambaad.data.decoding import Decoded, decode
from mambaad.data.images import rgb_of
from mambaad.data.polarity import NEARLY_ALL, border
from mambaad.errors import DataError
from mambaad.types import MAX_PIXELS

_MOST_LABELS = 32
"""Numbers below it are labels, such as 1, 2, 3: no mask of grey levels is so dark."""
_FEWEST_GREYS = 3
"""Values between the lowest and the highest: fewer are labels, as smoothed edges have more."""
_MOST_BETWEEN = 0.25
"""Share of pixels that are clearly between black and white: with more it is a picture."""
_EIGHT = np.ones((3, 3), dtype=bool)


class MaskFile(NamedTuple):
    """A mask as it was read.

    ``marked``: True where there is a defect. ``value``: the largest value there; 0 if there is no
    defect. ``orientation``: what it was turned by, as EXIF numbers it.
    """

    marked: Bool[np.ndarray, "h w"]
    value: float
    orientation: int


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> Bool[np.ndarray, "h w"]:
    """Read where a ground-truth mask marks a defect; see :func:`read_mask_file`."""
    return read_mask_file(path, max_pixels).marked


def read_mask_file(path: Path, max_pixels: int = MAX_PIXELS) -> MaskFile:
    """Read a ground-truth mask, turned upright.

    What counts is the largest channel of a pixel's colour (of a palette, the colour and not the
    index). Of two values, one of them 0, the other is the defect, and so are all values above 0
    where they are labels. Grey levels, as edges that were smoothed or saved as JPEG have them,
    count from half of the highest. Where a colour is the same everywhere, alpha is the mask.
    Several colours or labels mark defects only if the ground around them is black: if nearly all of
    the border is not, it cannot be told which of them is the ground.

    Raises:
        DataError: see :func:`mambaad.data.decoding.decode`; or there is no safe reading.
    """
    return mask_of(decode(path, max_pixels), path)


def mask_of(decoded: Decoded, path: Path) -> MaskFile:
    """Read a mask that was decoded; ``path`` is for messages. See :func:`read_mask_file`."""
    levels, alpha, colours = _levels(decoded)
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise DataError(f"{path} has values that are not finite, expected a mask; save it again")
    if levels.size and levels.min() < 0:
        raise DataError(f"{path} has values below 0, expected a mask; save it with 0 and 255")
    if alpha is not None and alpha.min() == alpha.max():
        alpha = None
    if alpha is None:
        marked = _marked(levels, path, decoded.is_lossy)
    else:
        marked = _with_alpha(levels, alpha, path, decoded.is_lossy)
    if colours is not None:
        # What is transparent is no colour.
        seen = levels if alpha is None else np.where(alpha >= alpha.max() / 2, levels, 0)
        _check_ground(colours, seen, path)
    value = float(levels.max(initial=0, where=marked))
    return MaskFile(marked, value, decoded.orientation)


def _levels(
    decoded: Decoded,
) -> tuple[
    Shaped[np.ndarray, "h w"],
    Shaped[np.ndarray, "h w"] | None,
    Shaped[np.ndarray, "h w 3"] | None,
]:
    """Take the largest channel of each pixel, the alpha channel, and the colours if there are."""
    image, wide = decoded.image, decoded.wide
    if image is not None:
        if image.mode in ("1", "L"):
            return np.asarray(image), None, None
        if not image.has_transparency_data:
            colours = np.asarray(rgb_of(image))
            return colours.max(axis=2), None, colours
        parts = np.asarray(image.convert("RGBA"))
        return parts[..., :3].max(axis=2), parts[..., 3], parts[..., :3]
    assert wide is not None
    channels = wide.shape[2]
    alpha = wide[..., -1] if channels in (2, 4) else None
    colours = wide[..., : channels - (alpha is not None)]
    levels = colours.max(axis=2)
    if decoded.is_inverted:
        levels = (decoded.white or _largest(levels)) - levels
    return levels, alpha, colours if colours.shape[2] > 1 else None


def _check_ground(
    colours: Shaped[np.ndarray, "h w c"], levels: Shaped[np.ndarray, "h w"], path: Path
) -> None:
    """Refuse a picture of several colours, of which that at the border is not black."""
    least = levels.max(initial=0) / 8
    is_painted = levels > least
    if border(is_painted).mean() > NEARLY_ALL and (np.ptp(colours, axis=2) > least).any():
        ground = np.median(border(colours)[border(is_painted)], axis=0)
        others = (np.abs(colours - ground) > least).any(axis=2) & is_painted
        if others.any():
            raise DataError(
                f"{path} has colours on a ground that is not black, so it cannot be told which of "
                "them marks the defect; save it as black and white"
            )


def _largest(levels: Shaped[np.ndarray, "h w"]) -> float:
    """Return what black is where white is 0, of numbers whose range the file does not say."""
    return float(levels.max()) if levels.dtype.kind == "f" else int(np.iinfo(levels.dtype).max)


def _with_alpha(
    levels: Shaped[np.ndarray, "h w"],
    alpha: Shaped[np.ndarray, "h w"],
    path: Path,
    is_lossy: bool,
) -> Bool[np.ndarray, "h w"]:
    """Read a mask that is transparent in places."""
    opaque: Bool[np.ndarray, "h w"] = alpha >= alpha.max() / 2  # not 0: it varies
    painted = levels[opaque]
    if painted.min() == painted.max() and (painted.max() > 0 or opaque.mean() <= 0.5):
        # One colour was painted; what is under the rest cannot be seen. (Much black with a hole in
        # it may be the good part.)
        return opaque
    marked = _marked(np.where(alpha > 0, levels, 0), path, is_lossy)
    if (marked & ~opaque).any() or not marked.any():
        raise DataError(
            f"{path} has colours and a transparency that do not mark the same pixels, so it "
            "cannot be told which is the mask; save it as opaque black and white"
        )
    return marked


def _marked(
    levels: Shaped[np.ndarray, "h w"], path: Path, is_lossy: bool
) -> Bool[np.ndarray, "h w"]:
    """Say which pixels are marked, of a mask in one channel with values of 0 or more."""
    positive: Bool[np.ndarray, "h w"] = levels > 0
    highest = levels.max(initial=0)
    between = positive & (levels < highest)
    if not between.any():
        return positive
    is_whole = levels.dtype.kind != "f"
    if is_lossy:
        if is_whole and highest < _MOST_LABELS:
            raise DataError(
                f"{path} has values of 0 to {highest} in a lossy format, which changes them; save "
                "the mask as PNG"
            )
    elif (is_whole and highest < _MOST_LABELS) or not _are_edges(levels, between):
        if border(positive).mean() > NEARLY_ALL:
            raise DataError(
                f"{path} has a ground that is not 0, so it cannot be told which of its values "
                f"{_some_values(levels)} mark the defect; save it with 0 for good, 255 for "
                "defective"
            )
        return positive
    return _from_half(levels, float(highest), path)


def _are_edges(levels: Shaped[np.ndarray, "h w"], between: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the values between are those of edges: many, and most are beside a higher one.

    The pixels of a label's region are beside their own value, or 0.
    """
    if len(np.unique(levels[between])) < _FEWEST_GREYS:
        return False
    padded = np.pad(levels, 1, mode="edge")
    height, width = levels.shape
    highest = levels.copy()
    for row in range(3):
        for column in range(3):
            neighbour = padded[row : row + height, column : column + width]
            np.maximum(highest, neighbour, out=highest)
    return float((highest > levels)[between].mean()) >= 0.5


def _from_half(
    levels: Shaped[np.ndarray, "h w"], highest: float, path: Path
) -> Bool[np.ndarray, "h w"]:
    """Mark grey levels from half of the highest; of a fainter region, from half of its own."""
    share = float(((levels > highest / 8) & (levels < highest * 7 / 8)).mean())
    if share > _MOST_BETWEEN:
        raise DataError(
            f"{path} is neither black nor white in {share:.0%} of its pixels, expected a mask; "
            "save it as black and white"
        )
    marked: Bool[np.ndarray, "h w"] = levels >= highest / 2
    from scipy.ndimage import label, maximum  # half a second, which few masks need

    regions, count = label(levels >= highest / 4, _EIGHT)
    peaks = np.append(0.0, maximum(levels, regions, np.arange(1, count + 1)))
    faint = (peaks < highest / 2)[regions] & (regions > 0)
    return np.asarray(marked | (faint & (levels >= peaks[regions] / 2)))


def _some_values(levels: Shaped[np.ndarray, "h w"]) -> str:
    values = np.unique(levels)
    return ", ".join(str(value) for value in values[:4]) + (", ..." if len(values) > 4 else "")
