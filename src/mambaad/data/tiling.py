"""The tiles of a large image: where they lie, and how they are cut. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mambaad.size import SIZE_MULTIPLE

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Tiling:
    """Squares of pixels that cover an image, at its own resolution.

    ``size``, ``stride``: of the tiles, in pixels, multiples of 32
    (:func:`mambaad.size.parse_tiles`). ``shift``: where the grid begins, a multiple of 32 below
    the stride; an image's first tile is at its corner all the same.
    """

    size: int
    stride: int
    shift: int = 0

    def __str__(self) -> str:
        return f"{self.size}:{self.stride}"

    def splits(self, shape: tuple[int, int]) -> bool:
        """Whether an image, of a height and a width, is larger than one tile."""
        return max(shape) > self.size

    def offsets(self, length: int) -> tuple[int, ...]:
        """List where tiles begin along a side of an image, in pixels: multiples of 32, rising.

        The last tile is moved inwards, so that it ends with the image; where the length is no
        multiple of 32, up to 31 pixels beyond (:func:`cut` fills them).
        """
        last = max(-(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE - self.size, 0)
        return tuple(sorted({0, *range(self.shift, last, self.stride), last}))

    def places(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """List the row and column of each tile's corner, row by row."""
        rows, columns = map(self.offsets, shape)
        return [(row, column) for row in rows for column in columns]


def cut(pixels: Pixels, row: int, column: int, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Cut a square out of an image; what lies beyond its lower and right edge is mirrored.

    Args:
        pixels: 8-bit RGB, of any size.
        row, column: of the square's corner, inside the image.
        size: of its sides, in pixels.
    """
    inside = pixels[row : row + size, column : column + size]
    below, right = size - inside.shape[0], size - inside.shape[1]
    if below or right:
        return np.pad(inside, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(inside)
