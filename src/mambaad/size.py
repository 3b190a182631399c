"""Image sizes: multiples of what the encoder asks for."""

from __future__ import annotations

import re

from mambaad.documents import shortened
from mambaad.errors import ConfigError

SIZE_MULTIPLE = 32
"""What sides are multiples of where the coarsest feature map has stride 32: in every pyramid."""

_LARGEST = 8192

TILE_MARGIN = 32
"""Pixels at the edge of a tile that are not used, as the network sees nothing beyond."""


def parse_size(text: str) -> tuple[int, int]:
    """Parse ``"256"`` as (256, 256) and ``"224x320"`` as (224, 320), height and width in pixels.

    Raises:
        ConfigError: not a size; :func:`check_size` refuses one that an encoder cannot take.
    """
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if not match:
        raise ConfigError(
            f"--size: expected 256, or 224x320 (height x width), got '{shortened(text)}'"
        )
    return int(match[1]), int(match[2] or match[1])


def check_size(size: tuple[int, int], multiple: int = SIZE_MULTIPLE) -> None:
    """Refuse a height or width that is no multiple of ``multiple``, or above 8192 (ConfigError)."""
    largest = _LARGEST // multiple * multiple
    for side in size:
        if side % multiple or not multiple <= side <= largest:
            nearest = min(max(round(side / multiple) * multiple, multiple), largest)
            raise ConfigError(
                f"--size: {side} is not a multiple of {multiple} between {multiple} and "
                f"{largest}; the nearest is {nearest}"
            )


def parse_tiles(text: str) -> tuple[int, int] | None:
    """Parse ``"512:384"`` as tiles of 512 pixels every 384; ``"off"`` is None.

    ``"512"`` has three quarters of it as stride, or less where tiles would not overlap enough.

    Raises:
        ConfigError: not such a text; or see :func:`check_tiles`.
    """
    text = text.strip()
    if text == "off":
        return None
    match = re.fullmatch(r"(\d{1,5})(?::(\d{1,5}))?", text)
    if not match:
        raise ConfigError(
            f"--tiles: expected 512:384 (the size of tiles and their stride, in pixels), 512 or "
            f"off, got '{shortened(text)}'"
        )
    size = int(match[1])
    three_quarters = 3 * size // 4 // SIZE_MULTIPLE * SIZE_MULTIPLE
    stride = int(match[2]) if match[2] else min(three_quarters, size - 2 * TILE_MARGIN)
    check_tiles((size, stride))
    return size, stride


def check_tiles(tiles: tuple[int, int]) -> None:
    """Refuse tiles whose size or stride is no multiple of 32, or that overlap too little.

    Raises:
        ConfigError: they must overlap by twice the margin that is dropped, 64 pixels or more.
    """
    size, stride = tiles
    least, most = 3 * TILE_MARGIN, size - 2 * TILE_MARGIN
    if size % SIZE_MULTIPLE or not least <= size <= _LARGEST:
        raise ConfigError(
            f"--tiles: expected a size that is a multiple of {SIZE_MULTIPLE} from {least} to "
            f"{_LARGEST}, got {size}"
        )
    if stride % SIZE_MULTIPLE or not SIZE_MULTIPLE <= stride <= most:
        raise ConfigError(
            f"--tiles: expected a stride that is a multiple of {SIZE_MULTIPLE} from "
            f"{SIZE_MULTIPLE} to {most} for tiles of {size} pixels, got {stride}"
        )
