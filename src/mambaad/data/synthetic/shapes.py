"""Outlines as signed distances (negative inside), and drawing within a window of a surface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import map_coordinates

from mambaad.data.synthetic.noise import SIDE, Array, Frame, Map, Number
from mambaad.data.synthetic.optics import Surface, towards

Outline = Callable[[Map, Map], Map]
"""Signed distance in design units of points in a part's own coordinates."""


def turned(x: Map, y: Map, angle: Number) -> tuple[Map, Map]:
    """Coordinates along and across a direction."""
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def placed(x: Number, y: Number, angle: Number, at: Sequence[Number]) -> tuple[float, float]:
    """Map a point of a part's own coordinates to the scene: turned, then moved to ``at``."""
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return at[0] + x * cosine - y * sine, at[1] + x * sine + y * cosine


def disc(u: Map, v: Map, radius: Number) -> Map:
    """A circle."""
    distance: Map = np.hypot(u, v) - radius
    return distance


def box(u: Map, v: Map, half_u: Number, half_v: Number, radius: Number = 0.0) -> Map:
    """A rectangle with rounded corners; ``half_u`` by ``half_v`` from its middle."""
    du, dv = np.abs(u) - (half_u - radius), np.abs(v) - (half_v - radius)
    outside = np.hypot(np.maximum(du, 0), np.maximum(dv, 0))
    distance: Map = outside + np.minimum(np.maximum(du, dv), 0) - radius
    return distance


def hexagon(u: Map, v: Map, radius: Number) -> Map:
    """A regular hexagon; ``radius`` from its middle to a side."""
    u, v = np.abs(u), np.abs(v)
    distance: Map = np.maximum(v, 0.5 * v + 0.8660254037844386 * u) - radius
    return distance


def both(one: Map, other: Map) -> Map:
    """The intersection of two outlines."""
    distance: Map = np.maximum(one, other)
    return distance


def either(one: Map, other: Map) -> Map:
    """The union of two outlines."""
    distance: Map = np.minimum(one, other)
    return distance


def inside(distance: Map, soft: Number) -> Map:
    """1 within an outline and 0 outside, over a border ``soft`` wide."""
    return np.clip(0.5 - distance / soft, 0, 1)


def ramp(values: Map, low: Number, high: Number) -> Map:
    """0 below ``low``, 1 above ``high``, smoothly between (either may be the larger)."""
    t = np.clip((values - low) / (high - low), 0, 1)
    smoothed: Map = t * t * (3 - 2 * t)
    return smoothed


def bevel(distance: Map, width: Number, rise: Number) -> Map:
    """A height that rises like a quarter circle over ``width`` from the outline inwards."""
    t = np.clip(1 + distance / width, 0, 1)
    return rise * np.sqrt(1 - t * t)


@dataclass
class Patch:
    """A window of a surface around one part, with the part's own coordinates."""

    u: Map
    v: Map
    surface: Surface
    unit: Number
    angle: Number

    def shadow(
        self,
        outline: Outline,
        light: dict[str, float],
        *,
        height: Number,
        soft: Number = 4.0,
        depth: Number = 0.62,
    ) -> None:
        """Let a part of that height cast its shadow, and darken where it touches the ground."""
        x, y, z = towards(light)
        dx, dy = x / z * height, y / z * height
        cosine, sine = float(np.cos(self.angle)), float(np.sin(self.angle))
        u, v = self.u + dx * cosine + dy * sine, self.v + dy * cosine - dx * sine
        self.surface.shade(depth * inside(outline(u, v), soft))
        contact = np.exp(-np.maximum(outline(self.u, self.v), 0) / (0.5 * soft))
        self.surface.shade(0.35 * contact)

    def lay(
        self,
        distance: Map,
        colour: Array,
        *,
        height: Map | Number,
        gloss: Number = 0.0,
        metal: Number = 0.0,
    ) -> Map:
        """Put a part on the surface, in the light; returns its coverage."""
        coverage = inside(distance, self.unit)
        self.surface.cover(coverage, colour, height=height, gloss=gloss, metal=metal)
        self.surface.lit += coverage * (1 - self.surface.lit)
        return coverage


def patch(
    frame: Frame, surface: Surface, at: Sequence[Number], angle: Number, reach: Number = SIDE
) -> Patch:
    """The window ``reach`` around a point, turned by ``angle``; without it the whole image."""
    slices = []
    for centre in (at[1], at[0]):
        low = int(np.floor((centre - reach + 128) / frame.unit))
        high = int(np.ceil((centre + reach + 128) / frame.unit))
        slices.append(slice(min(max(low, 0), frame.size), min(max(high, 0), frame.size)))
    window = (slices[0], slices[1])
    u, v = turned(frame.x[window] - at[0], frame.y[window] - at[1], angle)
    return Patch(u, v, surface.part(window), frame.unit, angle)


def sample(
    artwork: UInt8[np.ndarray, "rows columns"], u: Map, v: Map, width: Number, height: Number
) -> Map:
    """Read an artwork of that size, its middle at (0, 0), at each point: 0 to 1, 0 outside."""
    rows, columns = artwork.shape
    at = [(v / height + 0.5) * rows - 0.5, (u / width + 0.5) * columns - 0.5]
    # In float64: interpolated in the artwork's 8 bits, levels would be lost.
    values: Map = map_coordinates(artwork.astype(np.float64), at, order=1, mode="constant")
    return values / 255


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[Number, Number],
    text: str,
    height: Number,
    fill: int | tuple[int, int, int],
    spacing: Number = 0.0,
) -> None:
    """Write a line from its left top; letter by letter, as layout engines differ in kerning."""
    font = ImageFont.load_default(height)
    x, y = at
    for letter in text:
        draw.text((round(x), round(y)), letter, fill=fill, font=font)
        x += round(font.getlength(letter)) + spacing


def stroke(frame: Frame, points: Float64[np.ndarray, "n 2"], widths: Array) -> Map:
    """Coverage of a line through points (x, y), of changing width, all in design units."""
    fine = 4
    scale = fine / frame.unit
    canvas = Image.new("L", (frame.size * fine, frame.size * fine))
    draw = ImageDraw.Draw(canvas)
    where = [(round((x + 128) * scale), round((y + 128) * scale)) for x, y in points.tolist()]
    thick = [max(round(width * scale), 2) for width in widths.tolist()]
    for (start, end), width in zip(pairwise(where), thick, strict=False):
        draw.line([start, end], fill=255, width=width)
        radius = (width - 1) // 2
        if radius:
            draw.ellipse([end[0] - radius, end[1] - radius, end[0] + radius, end[1] + radius], 255)
    return np.asarray(canvas.reduce(fine)).astype(np.float64) / 255
