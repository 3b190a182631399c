"""An anomaly map drawn over its image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

# Perceptually uniform, and its brightness alone tells the order: it is read right by colour-blind
# people and in greyscale print.
_COLOURS = np.asarray(colormaps["inferno"].resampled(256)(np.arange(256))[:, :3], np.float32) * 255
_MOST_OPAQUE = 0.8
_OUTLINE = np.asarray([64, 224, 255], np.uint8)  # cyan: no colour of the heatmap, and few parts'


def heatmap_overlay(
    image: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h2 w2"],
    scale: tuple[float, float],
) -> UInt8[np.ndarray, "h w 3"]:
    """Colour an image by its anomaly map; calm places show the image as it is.

    Args:
        image: 8-bit RGB, of any size.
        anomaly_map: float32, resized to the image (bilinear).
        scale: the values that get the first and the last colour. The same for all images: on a
            scale of its own every image would have a glowing place, good parts too.
    """
    low, high = scale
    size = (image.shape[1], image.shape[0])
    resized = Image.fromarray(anomaly_map).resize(size, Image.Resampling.BILINEAR)
    level = ((np.asarray(resized) - low) / (high - low)).clip(0, 1)[..., None]
    opacity = _MOST_OPAQUE * level
    colours = _COLOURS[(level[..., 0] * 255).round().astype(np.uint8)]
    blended = image * (1 - opacity) + colours * opacity
    drawn: UInt8[np.ndarray, "h w 3"] = blended.round().astype(np.uint8)
    return drawn


def draw_outlines(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h2 w2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Outline the regions of a mask, which is resized to the image (nearest).

    The line lies around a region, as wide as a 200th of the image, so that it hides nothing of it.
    """
    height, width = image.shape[:2]
    small = Image.fromarray(mask.astype(np.uint8))
    inside = np.asarray(small.resize((width, height), Image.Resampling.NEAREST)) > 0
    thick = max(round(min(height, width) / 200), 1)
    around = ndimage.binary_dilation(inside, np.ones((3, 3), dtype=bool), iterations=thick)
    drawn: UInt8[np.ndarray, "h w 3"] = image.copy()
    drawn[around & ~inside] = _OUTLINE
    return drawn
