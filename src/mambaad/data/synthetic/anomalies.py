"""Synthetic anomalies on photographs of good parts, to train a head that tells defects apart.

Three kinds: a foreign texture where noise is high (DRAEM, Zavrtanik et al., ICCV 2021), a piece of
a photograph pasted elsewhere (CutPaste, Li et al., CVPR 2021), and the damage of the synthetic
factory, drawn on the photograph as if it were the flat surface of a part. All of them are mixed
with the photograph as it was, so that many are faint.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy import ndimage

from mambaad.data.synthetic.defects import SURFACE_DEFECTS, damage
from mambaad.data.synthetic.noise import Array, Frame, Map, fractal, pick, smooth, streaks
from mambaad.data.synthetic.optics import Surface, linear, look
from mambaad.data.synthetic.scene import Scene, Severity

_SEEN = 8
"""Levels of 255 by which a pixel must change in some channel to count as anomalous."""
_LEAST = 12 / 65536
"""The least share of an image that an anomaly takes: 12 pixels at 256 x 256."""
_ATTEMPTS = 8
_FAINTEST = 0.1
"""The least share of an anomaly in its mixture with the photograph (at most all of it)."""
_LIGHT = {
    **{"azimuth": -2.25, "elevation": 0.92, "intensity": 1.0, "ambient": 0.42},
    **{"warmth": 0.0, "fall_x": 0.0, "fall_y": 0.0},
}
_Image = UInt8[np.ndarray, "h w 3"]
_Mask = Bool[np.ndarray, "h w"]


def spoil(image: _Image, other: _Image, random: np.random.Generator) -> tuple[_Image, _Mask]:
    """Put one synthetic anomaly on a photograph.

    Args:
        image: of a good part, 8-bit RGB.
        other: another photograph of the same size, for foreign texture.
        random: where all choices come from.

    Returns:
        The spoiled image, and its mask: True on the pixels that changed by a visible amount. If no
        attempt can be seen (a photograph of one grey, say), the image as it is and an empty mask.
    """
    for _ in range(_ATTEMPTS):
        kind = (_texture, _paste, _damage)[pick(random, 3)]
        share = random.uniform(_FAINTEST, 1.0)
        spoiled = _levels(image + share * (kind(image, other, random) - image.astype(float)))
        change = np.abs(spoiled.astype(np.int16) - image).max(axis=2)
        mask: _Mask = ndimage.binary_closing(np.pad(change >= _SEEN, 2), np.ones((3, 3)))
        mask = mask[2:-2, 2:-2]
        if mask.mean() >= _LEAST:
            return spoiled, mask
    return image, np.zeros(image.shape[:2], dtype=bool)


def _texture(image: _Image, other: _Image, random: np.random.Generator) -> _Image:
    """Another photograph's texture, or a drawn one, over an irregular region."""
    height, width = image.shape[:2]
    if random.random() < 0.5:
        rows, columns = random.integers(height), random.integers(width)
        foreign = np.roll(other, (rows, columns), axis=(0, 1)).astype(float)
    else:
        foreign = _drawn(max(height, width), random)[:height, :width]
    opacity = random.uniform(0.25, 1.0) * _region(height, width, random)[..., None]
    return _levels(image + opacity * (foreign - image))


def _drawn(size: int, random: np.random.Generator) -> Array:
    """Two colours that noise or streaks mix: size x size x 3, 0 to 255."""
    cells = int(2 ** random.integers(1, 7))
    field = (
        streaks(random, size, cells) if random.random() < 0.3 else fractal(random, size, cells, 3)
    )
    share = np.clip(0.5 + field, 0, 1)[..., None]
    first, second = random.uniform(0, 255, (2, 3))
    texture: Array = first + share * (second - first)
    return texture


def _region(height: int, width: int, random: np.random.Generator) -> Map:
    """One to three blobs where noise is highest, with soft edges: 0 to 1."""
    size = max(height, width)
    rows, columns = 2 ** random.integers(1, 6, 2)
    field = smooth(random, size, int(rows), int(columns))[:height, :width]
    share = np.exp(random.uniform(np.log(0.01), np.log(0.3)))
    labels, count = ndimage.label(field > np.quantile(field, 1 - share))
    chosen = random.permutation(count)[: 1 + pick(random, 3)] + 1
    region: Map = ndimage.gaussian_filter(np.isin(labels, chosen).astype(float), 0.7 * size / 256)
    return region


def _paste(image: _Image, other: _Image, random: np.random.Generator) -> _Image:
    """A piece of either photograph, turned and tinted, somewhere else; often a thin scar."""
    height, width = image.shape[:2]
    least = max(min(height, width) // 32, 2)
    if random.random() < 0.5:  # a scar
        sides = np.exp(random.uniform(np.log([1, 8]), np.log([2, 24]))) * least / 2
    else:
        sides = np.exp(random.uniform(np.log(1), np.log(8), 2)) * least
    rows, columns = (
        int(min(max(side, 2), size // 2)) for side, size in zip(sides, (height, width), strict=True)
    )
    source = image if random.random() < 0.7 else other
    top, left = random.integers(height - rows), random.integers(width - columns)
    piece = source[top : top + rows, left : left + columns].astype(float)
    piece = np.clip(piece * random.uniform(0.6, 1.4) + random.uniform(-25, 25, 3), 0, 255)
    turned = Image.fromarray(piece.astype(np.uint8)).convert("RGBA")
    turned = turned.rotate(random.uniform(0, 360), Image.Resampling.BILINEAR, expand=True)
    canvas = Image.fromarray(image)
    down, right = random.integers(height), random.integers(width)
    at = (int(right) - turned.width // 2, int(down) - turned.height // 2)
    canvas.paste(turned.convert("RGB"), at, turned.getchannel("A"))
    return np.asarray(canvas)


def _damage(image: _Image, other: _Image, random: np.random.Generator) -> _Image:
    """A scratch, crack, stain, hole, dent, colour or contamination of the synthetic factory."""
    height, width = image.shape[:2]
    frame = Frame(max(height, width), 0, "photograph")
    albedo = np.zeros((frame.size, frame.size, 3))
    albedo[:height, :width] = linear(image)
    flat = np.zeros((frame.size, frame.size))
    body = np.zeros_like(flat)
    body[:height, :width] = 1.0
    scene = Scene(Surface.of(albedo, flat), body, tuple(random.uniform(0, 255, 3).tolist()))
    before = look(scene.surface, _LIGHT, frame)
    difficulty = random.uniform(0, 1.1)
    severity = Severity.of(difficulty)
    kind = list(SURFACE_DEFECTS)[pick(random, len(SURFACE_DEFECTS))]
    damage(kind, scene, frame, random, severity)
    change = (look(scene.surface, _LIGHT, frame) - before)[:height, :width]
    return _levels(255 * np.sqrt(np.clip(linear(image) + change, 0, 1)))


def _levels(pixels: Array) -> _Image:
    levels: _Image = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
    return levels
