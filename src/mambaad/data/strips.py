"""Pixels of an image by strips of rows, so that a large one need not be in memory as a whole."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@runtime_checkable
class Strips(Protocol):
    """An image whose rows are read from top to bottom."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def rows(self, top: int, bottom: int) -> UInt8[np.ndarray, "h w 3"]:
        """Return the rows from ``top`` to before ``bottom``; neither is less than last time."""


class ArrayStrips:
    """The strips of an image that is in memory.

    Args:
        pixels: 8-bit RGB.
    """

    def __init__(self, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        self._pixels = pixels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._pixels.shape[0], self._pixels.shape[1]

    def rows(self, top: int, bottom: int) -> UInt8[np.ndarray, "h w 3"]:
        """See :meth:`Strips.rows`."""
        return self._pixels[top:bottom]
