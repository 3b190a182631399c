"""Items of the images that a program gives: paths to be read, and pixels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mambaad.data.given import Color, check_color, check_float_range, given_pixels
from mambaad.errors import ConfigError
from mambaad.inspection.stream import Item
from mambaad.types import Reading

BitDepth = Literal[8, 10, 12, 14, 16]
BIT_DEPTHS: tuple[BitDepth, ...] = (8, 10, 12, 14, 16)


class GivenImages:
    """How images that a program gives are read; see :meth:`Inspector.inspect`."""

    def __init__(
        self,
        reading: Reading,
        color: Color,
        bit_depth: BitDepth | None,
        float_range: tuple[float, float] | None,
    ) -> None:
        check_color(color)
        self._color: Color = color
        self._float_range = float_range
        if bit_depth is not None:
            if bit_depth not in BIT_DEPTHS:
                raise ConfigError(
                    f"bit_depth: expected one of {', '.join(map(str, BIT_DEPTHS))}, got {bit_depth}"
                )
            reading = replace(reading, bit_depth=bit_depth)
        if float_range is not None:
            check_float_range(float_range)
            reading = replace(reading, float_range=float_range)
        self._reading = reading

    def item(self, image: Any, name: str, product: str | None) -> Item:
        """Make an item: of a path a file to be read, of all else its pixels."""
        if isinstance(image, (str, os.PathLike)):
            if self._color != "rgb":
                raise ConfigError(
                    f"color: {os.fspath(image)} is a file, which says itself what its channels "
                    "are; omit color, or give an array"
                )
            return Item(Path(image), product, reading=self._reading)
        pixels = given_pixels(
            image, name, self._reading, color=self._color, float_range=self._float_range
        )
        return Item(pixels, product)
