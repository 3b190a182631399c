"""An anomaly map drawn over its image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from PIL import Image

# Perceptually uniform, and its brightness alone tells the order: it is read right by colour-blind
# people and in greyscale print.
_COLOURS = np.asarray(colormaps["inferno"].resampled(256)(np.arange(256))[:, :3], np.float32) * 255
_MOST_OPAQUE = 0.8


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
