"""Heatmaps and outlines over an image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

# Perceptually uniform, and ordered by brightness alone: readable with colour blindness and in
# greyscale print.
_COLOURS = np.asarray(colormaps["inferno"].resampled(256)(np.arange(256))[:, :3], np.float32) * 255
_MAX_OPACITY = 0.8
_BAND = 2**22  # pixels that are blended at a time
_OUTLINE = np.asarray([64, 224, 255], np.uint8)  # cyan: not in the heatmap, and rare on parts


def heatmap_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h2 w2"],
    heatmap_range: tuple[float, float],
) -> UInt8[np.ndarray, "h w 3"]:
    """Colour an image by its anomaly map; where the map is low, the image shows unchanged.

    Args:
        image: 8-bit RGB, of any size.
        anomaly_map: float32, resized to the image (bilinear).
        heatmap_range: the values of the first and last colour. The same for all images of a
            class: with a range of its own, every image would show a hot spot, good parts too.
    """
    low, high = heatmap_range
    size = (image.shape[1], image.shape[0])
    resized = np.asarray(Image.fromarray(anomaly_map).resize(size, Image.Resampling.BILINEAR))
    drawn: UInt8[np.ndarray, "h w 3"] = np.empty_like(image)
    rows = max(_BAND // max(size[0], 1), 1)
    for top in range(0, size[1], rows):  # not all at once: floats of a large image are GiB
        band = slice(top, top + rows)
        intensity = ((resized[band] - low) / (high - low)).clip(0, 1)[..., None]
        opacity = _MAX_OPACITY * intensity
        colours = _COLOURS[(intensity[..., 0] * 255).round().astype(np.uint8)]
        blended = image[band] * (1 - opacity) + colours * opacity
        drawn[band] = blended.round().astype(np.uint8)
    return drawn


def heatmap_layer(
    anomaly_map: Float[np.ndarray, "h w"], heatmap_range: tuple[float, float]
) -> UInt8[np.ndarray, "h w 4"]:
    """Colour an anomaly map as a transparent layer (RGBA) that is laid over an image.

    Laid over it, the layer gives :func:`heatmap_overlay`; see there for the arguments.
    """
    low, high = heatmap_range
    intensity = ((anomaly_map - low) / (high - low)).clip(0, 1)
    colours = _COLOURS[(intensity * 255).round().astype(np.uint8)]
    alpha = 255 * _MAX_OPACITY * intensity[..., None]
    layer: UInt8[np.ndarray, "h w 4"] = (
        np.concatenate([colours, alpha], axis=2).round().astype(np.uint8)
    )
    return layer


def draw_outlines(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h2 w2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Outline the regions of a mask, which is resized to the image (nearest).

    The line, a 200th of the image's smaller side wide, runs outside the region, so that it hides
    no defect.
    """
    height, width = image.shape[:2]
    drawn: UInt8[np.ndarray, "h w 3"] = image.copy()
    drawn[_line(mask, height, width, max(round(min(height, width) / 200), 1))] = _OUTLINE
    return drawn


def outline_layer(
    mask: Bool[np.ndarray, "h w"], shape: tuple[int, int], colour: tuple[int, int, int]
) -> UInt8[np.ndarray, "h2 w2 4"]:
    """Outline the regions of a mask as a transparent layer (RGBA) that is laid over an image.

    Args:
        mask: resized to the layer (nearest).
        shape: height and width of the layer.
        colour: red, green, blue. The line is a 100th of the smaller side wide, outside the region.
    """
    height, width = shape
    layer: UInt8[np.ndarray, "h2 w2 4"] = np.zeros((height, width, 4), np.uint8)
    layer[_line(mask, height, width, max(round(min(shape) / 100), 1))] = (*colour, 255)
    return layer


def _line(
    mask: Bool[np.ndarray, "h w"], height: int, width: int, wide: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Where the outlines of a mask's regions are, in an image of another size."""
    small = Image.fromarray(mask.astype(np.uint8))
    inside = np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
    # A square's maximum, along one side after the other: its time does not grow with the square.
    around = inside
    for axis in (0, 1):
        around = ndimage.maximum_filter1d(around, 2 * wide + 1, axis, mode="constant")
    outside: Bool[np.ndarray, "h2 w2"] = around > inside
    return outside


def colour_stops(count: int) -> list[tuple[int, int, int, float]]:
    """The heatmap's colours at evenly spaced values: red, green, blue, opacity; for a legend."""
    found = []
    for share in np.linspace(0, 1, count).tolist():
        red, green, blue = _COLOURS[round(255 * share)].round().astype(int).tolist()
        found.append((red, green, blue, _MAX_OPACITY * share))
    return found
