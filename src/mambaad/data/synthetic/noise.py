"""Random streams and the random fields that surfaces are made of.

All arithmetic is in float64 and every stream is drawn from plain uniform numbers, so that a seed
gives the same image on every machine: processors differ in the 16th digit only.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64

SIDE = 256
"""The side of an image in design units, the unit of all measures of a product."""

Number = float | int
"""A float or an int, for checks at run time; to type checkers an int is a float."""

Map = Float64[np.ndarray, "h w"]
Array = npt.NDArray[np.float64]
"""Numbers of any shape, such as a colour's three or a colour for each pixel."""


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random numbers of a seed for one purpose, independent of those for any other."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def between(random: np.random.Generator, low: Number, high: Number) -> float:
    """A uniform number with four decimals, as manifests show it."""
    return round(float(low + (high - low) * random.random()), 4)


def around(random: np.random.Generator, middle: Number, tolerance: Number) -> float:
    """A uniform number within a tolerance."""
    return between(random, middle - tolerance, middle + tolerance)


def pick(random: np.random.Generator, count: int) -> int:
    """A whole number from 0 to ``count - 1``."""
    return min(int(random.random() * count), count - 1)


class Frame:
    """The design coordinates of an image's pixels, and its random streams.

    ``x`` grows to the right and ``y`` downwards, both from -128 to 128 at every ``size``;
    ``unit`` is the width of a pixel in design units.
    """

    def __init__(self, size: int, seed: int, product: str) -> None:
        self.size = size
        self.unit = SIDE / size
        self.x, self.y = _coordinates(size)
        self.product = product
        self._seed = seed

    def random(self, name: str) -> np.random.Generator:
        """The random numbers of one purpose."""
        return stream(self._seed, self.product, name)


@lru_cache(maxsize=4)
def _coordinates(size: int) -> tuple[Map, Map]:
    axis = (np.arange(size) + 0.5) * (SIDE / size) - SIDE / 2
    x, y = np.meshgrid(axis, axis)
    x.flags.writeable = y.flags.writeable = False
    return x, y


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Map:
    """Weights of ``cells + 3`` random values in each pixel: the uniform cubic B-spline."""
    position = (np.arange(size) + 0.5) / size * cells
    cell = np.floor(position).astype(int)
    t = position - cell
    weights = np.zeros((size, cells + 3))
    rows = np.arange(size)
    weights[rows, cell] = (1 - t) ** 3 / 6
    weights[rows, cell + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[rows, cell + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[rows, cell + 3] = t**3 / 6
    return weights


def smooth(random: np.random.Generator, size: int, rows: int, columns: int) -> Map:
    """Hills and valleys, about -1 to 1, with that many cells down and across."""
    values = 3 * (random.random((rows + 3, columns + 3)) - 0.5)
    field: Map = _spline(size, rows) @ values @ _spline(size, columns).T
    return field


def fractal(
    random: np.random.Generator, size: int, cells: int, octaves: int, gain: Number = 0.5
) -> Map:
    """Hills with finer and lower hills on them, about -1 to 1."""
    field = np.zeros((size, size))
    for octave in range(octaves):
        # No finer than the pixels.
        count = min(cells * 2**octave, size // 2)
        field += gain**octave * smooth(random, size, count, count)
    return field


def streaks(random: np.random.Generator, size: int, cells: int) -> Map:
    """Lines across the image, each row its own, of ``cells`` lengths; about -1 to 1."""
    field: Map = 2.2 * (random.random((size, cells + 3)) - 0.5) @ _spline(size, cells).T
    return field


def grain(random: np.random.Generator, *shape: int) -> Array:
    """Noise of each pixel by itself: near normal, of standard deviation 1, within 3."""
    noise = random.random(shape)
    noise += random.random(shape)
    noise += random.random(shape)
    noise -= 1.5
    noise *= 2
    return noise


def cells(random: np.random.Generator, u: Map, v: Map) -> tuple[Map, Map]:
    """Distance to the nearest and to the second nearest of points, one in each unit square."""
    columns, rows = np.floor(u).astype(int), np.floor(v).astype(int)
    left, top = int(columns.min()) - 1, int(rows.min()) - 1
    points = random.random((2, int(rows.max()) - top + 2, int(columns.max()) - left + 2))
    nearest = np.full(u.shape, 9.0)
    second = np.full(u.shape, 9.0)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, column = rows + down, columns + right
            index = (row - top) * points.shape[2] + (column - left)
            du = column + 0.1 + 0.8 * points[0].ravel()[index] - u
            dv = row + 0.1 + 0.8 * points[1].ravel()[index] - v
            distance = du * du + dv * dv
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
    return np.sqrt(nearest), np.sqrt(second)
