"""Image quality: whether an image is fit for inspection (blur, exposure, size)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float, UInt8

_GREY = np.asarray([0.299, 0.587, 0.114], np.float32)  # of RGB (ITU-R BT.601)
_DARK, _BRIGHT = 8, 247  # grey levels up to and from which a camera is (nearly) saturated
_WIDENING = 1.0  # times the calibrated range, on each side: a few parts do not span all of it
_SLACK = (
    0.4,
    20.0,
    0.05,
    0.05,
)  # sharpness, brightness, dark, bright; drift finds less
_SHAPE_RATIO = 1.05  # ratio of height to width that still counts as the same
_MIN_SIDE = 0.5  # times the smallest side in calibration


@dataclass(frozen=True)
class Quality:
    """Measures of an image that do not depend on what it shows.

    ``sharpness``: natural logarithm of the energy of the Laplacian over the variance of the grey
    values, which exposure does not change and blur lowers; measured at the model's size: a blur
    that resizing removes does not reach the model either.
    ``brightness``: mean grey level, 0 to 255. ``dark``, ``bright``: share of the pixels at either
    end of the range, 0 to 1. ``height``, ``width``: of the original image, in pixels.
    """

    sharpness: float
    brightness: float
    dark: float
    bright: float
    height: int
    width: int


@dataclass(frozen=True)
class QualityLimits:
    """Limits of each measure of :class:`Quality` for one class: its good parts' range and a margin.

    ``sharpness``, ``brightness``: lowest and highest. ``dark``, ``bright``: highest. ``shapes``:
    heights and widths of the images calibrated on.
    """

    sharpness: tuple[float, float]
    brightness: tuple[float, float]
    dark: float
    bright: float
    shapes: tuple[tuple[int, int], ...]

    def problem(self, quality: Quality) -> str | None:
        """Describe what is wrong with an image; None if nothing is."""
        q = quality
        if not any(_same_shape((q.height, q.width), shape) for shape in self.shapes):
            seen = ", ".join(f"{h} x {w}" for h, w in self.shapes[:3])
            return f"wrong size: {q.height} x {q.width} pixels, calibrated on {seen}"
        if not q.dark <= self.dark:
            return f"under-exposed: {q.dark:.0%} of the pixels are black (up to {self.dark:.0%})"
        if not q.bright <= self.bright:
            return f"over-exposed: {q.bright:.0%} of the pixels are white (up to {self.bright:.0%})"
        low, high = self.brightness
        if not low <= q.brightness <= high:
            kind = "dark" if q.brightness < low else "bright"
            return f"too {kind}: mean grey level {q.brightness:.0f} ({low:.0f} to {high:.0f})"
        low, high = self.sharpness
        if not q.sharpness >= low:
            return f"blurred: sharpness {q.sharpness:.2f} (from {low:.2f})"
        if q.sharpness > high:
            return f"noisy: sharpness {q.sharpness:.2f} (up to {high:.2f})"
        return None


def measure_quality(resized: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> Quality:
    """Measure the quality of an image.

    Args:
        resized: 8-bit RGB at the model's size.
        shape: height and width of the original image.
    """
    grey: Float[np.ndarray, "h w"] = resized.astype(np.float32) @ _GREY
    laplacian = (
        grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    )
    # The constants keep a flat image from dividing by zero, and from counting as sharp.
    sharpness = np.log((np.square(laplacian).mean() + 1e-3) / (grey.var() + 1))
    return Quality(
        float(sharpness),
        float(grey.mean()),
        float((grey <= _DARK).mean()),
        float((grey >= _BRIGHT).mean()),
        *shape,
    )


def quality_limits(measured: Sequence[Quality]) -> QualityLimits:
    """Set the limits of a class: the range over its good parts, widened on both sides."""
    values = np.asarray([astuple(quality)[:4] for quality in measured])
    lowest, highest = values.min(axis=0), values.max(axis=0)
    margin = _WIDENING * (highest - lowest) + np.asarray(_SLACK)
    low, high = (lowest - margin).tolist(), (highest + margin).tolist()
    shapes = sorted({(quality.height, quality.width) for quality in measured})
    return QualityLimits((low[0], high[0]), (low[1], high[1]), high[2], high[3], tuple(shapes))


def _same_shape(given: tuple[int, int], seen: tuple[int, int]) -> bool:
    ratio = (given[0] / given[1]) / (seen[0] / seen[1])
    return 1 / _SHAPE_RATIO <= ratio <= _SHAPE_RATIO and min(given) >= _MIN_SIDE * min(seen)
