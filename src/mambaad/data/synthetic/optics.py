"""Light and camera: from a surface's colour and relief to the pixels that a sensor gives.

A lamp stands over the scene, at the upper left as on most lines. The surface answers with a matt
part (Lambert), a highlight (Blinn and Phong) and, where it is metal, a reflection of the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.ndimage import gaussian_filter1d

from mambaad.data.synthetic.noise import Array, Frame, Map, Number, around, between, grain

Colour = tuple[Number, Number, Number]
Pixels = Float64[np.ndarray, "h w 3"]
_CAMERA = 900.0  # design units above the table
_LAMP = 640.0


def linear(colour: Sequence[Number] | np.ndarray) -> Array:
    """Convert a screen's colour or pixels, 0 to 255, to the share of light it reflects."""
    light: Array = (np.asarray(colour, dtype=np.float64) / 255) ** 2
    return light


def tinted(colour: Colour, random: np.random.Generator, tolerance: Number = 6.0) -> list[float]:
    """A colour within a tolerance, as one lot differs from the next."""
    common = around(random, 0, tolerance)
    return [
        round(channel + common + around(random, 0, tolerance / 3), 2)  # more in brightness
        for channel in colour
    ]


@dataclass
class Surface:
    """The surface in front of the camera, pixel by pixel.

    ``albedo``: share of light reflected, H x W x 3, 0 to 1.
    ``height``: in design units. ``gloss``: strength of the highlight, 0 to 1. ``metal``: how far
    it reflects the room instead of being matt, 0 to 1. ``lit``: share of the lamp's light that
    arrives, 0 in a deep shadow.
    """

    albedo: Pixels
    height: Map
    gloss: Map
    metal: Map
    lit: Map

    @classmethod
    def of(cls, albedo: Pixels, height: Map, gloss: Number = 0.0, metal: Number = 0.0) -> Surface:
        """A surface of one kind, without shadows."""
        shape = height.shape
        return cls(
            np.ascontiguousarray(albedo),
            height,
            np.full(shape, gloss),
            np.full(shape, metal),
            np.ones(shape),
        )

    def part(self, window: tuple[slice, slice]) -> Surface:
        """Return a window of it, as views: changes of the window change the whole."""
        return Surface(*(layer[window] for layer in self._layers()))

    def _layers(self) -> tuple[Any, ...]:
        return self.albedo, self.height, self.gloss, self.metal, self.lit

    def cover(
        self,
        coverage: Map,
        colour: Array | None = None,
        *,
        height: Map | Number | None = None,
        gloss: Map | Number | None = None,
        metal: Map | Number | None = None,
    ) -> None:
        """Lay something over it where ``coverage`` is 1; layers not given stay as they are."""
        if colour is not None:
            self.albedo += coverage[..., None] * (colour - self.albedo)
        for layer, value in ((self.height, height), (self.gloss, gloss), (self.metal, metal)):
            if value is not None:
                layer += coverage * (value - layer)

    def shade(self, shadow: Map) -> None:
        """Take the lamp's light away where ``shadow`` is 1."""
        self.lit *= 1 - shadow


def draw_light(random: np.random.Generator) -> dict[str, float]:
    """Lamp and camera within the tolerances of a line's station."""
    return {
        "azimuth": around(random, -2.25, 0.22),
        "elevation": around(random, 0.92, 0.07),
        "intensity": around(random, 1.0, 0.07),
        "ambient": around(random, 0.42, 0.04),
        "warmth": around(random, 0.0, 0.025),
        "fall_x": around(random, 0.0, 0.07),
        "fall_y": around(random, 0.0, 0.07),
        "blur": between(random, 0.45, 0.7),
        "noise": between(random, 0.8, 1.6),
    }


def towards(light: dict[str, float]) -> tuple[float, float, float]:
    """The unit vector to the lamp."""
    flat = float(np.cos(light["elevation"]))
    return (
        flat * float(np.cos(light["azimuth"])),
        flat * float(np.sin(light["azimuth"])),
        float(np.sin(light["elevation"])),
    )


def look(surface: Surface, light: dict[str, float], frame: Frame) -> Pixels:
    """Compute the light that reaches the camera, before its lens and sensor."""
    x, y = frame.x, frame.y
    slope_y, slope_x = _slopes(surface.height, frame.unit)
    nz = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    nx, ny = -slope_x * nz, -slope_y * nz

    to_x, to_y, to_z = towards(light)
    lx, ly, lz = _LAMP * to_x - x, _LAMP * to_y - y, _LAMP * to_z
    away = lx**2 + ly**2 + lz**2
    shrink = 1 / np.sqrt(away)
    lx, ly, lz_unit = lx * shrink, ly * shrink, lz * shrink
    arriving = surface.lit * (_LAMP**2 / away)
    matt = np.maximum(nx * lx + ny * ly + nz * lz_unit, 0) * arriving / to_z

    # Half way between lamp and camera; the camera is so high that its vector needs no scaling.
    hx, hy, hz = lx - x / _CAMERA, ly - y / _CAMERA, lz_unit + 1
    mirror = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx**2 + hy**2 + hz**2)
    mirror = np.maximum(mirror, 0)
    for _ in range(5):  # to the 32nd power
        mirror *= mirror
    highlight = mirror * arriving * surface.gloss

    # The room that metal reflects: a wide lamp, a pale ceiling, a weaker window across.
    rx, ry, rz = 2 * nz * nx, 2 * nz * ny, 2 * nz**2 - 1
    lamp = np.maximum(0.5 + 0.5 * (rx * to_x + ry * to_y + rz * to_z), 0)
    window = np.maximum(0.55 * rz - 0.75 * rx * to_x - 0.75 * ry * to_y, 0)
    room = 0.10 + 0.28 * np.maximum(rz, 0) + 1.5 * lamp**8 * surface.lit + 0.35 * window**4

    ambient = light["ambient"] * (0.55 + 0.45 * surface.lit)
    metal = surface.metal
    strength = (1 - metal) * (ambient + (1 - light["ambient"]) * matt) + metal * room
    seen: Pixels = surface.albedo * strength[..., None]
    seen += highlight[..., None]
    lamp_fall = 1 + (light["fall_x"] * x + light["fall_y"] * y) / 128
    seen *= (light["intensity"] * lamp_fall)[..., None]
    seen *= np.array([1 + light["warmth"], 1.0, 1 - light["warmth"]])
    return seen


def _slopes(height: Map, unit: Number) -> tuple[Map, Map]:
    down = np.empty_like(height)
    right = np.empty_like(height)
    down[1:-1] = height[2:] - height[:-2]
    down[0], down[-1] = 2 * (height[1] - height[0]), 2 * (height[-1] - height[-2])
    right[:, 1:-1] = height[:, 2:] - height[:, :-2]
    right[:, 0] = 2 * (height[:, 1] - height[:, 0])
    right[:, -1] = 2 * (height[:, -1] - height[:, -2])
    return down / (2 * unit), right / (2 * unit)


def expose(seen: Pixels, light: dict[str, float], frame: Frame) -> UInt8[np.ndarray, "h w 3"]:
    """Apply lens and sensor: slight blur, the screen's curve, noise, 8 bits.

    The screen's curve is close to a square root, after which the noise of counted light is the
    same in bright and dark places.
    """
    sigma = light["blur"] * frame.size / 256
    for axis in (0, 1):
        seen = gaussian_filter1d(seen, sigma, axis=axis, truncate=3.0, mode="nearest")
    levels = np.sqrt(np.clip(seen, 0, 1))
    levels *= 255
    levels += light["noise"] * grain(frame.random("sensor"), *levels.shape)
    pixels: UInt8[np.ndarray, "h w 3"] = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    return pixels
