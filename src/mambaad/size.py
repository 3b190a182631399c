"""Image sizes: multiples of 32, since the coarsest feature map has stride 32."""

from __future__ import annotations

import re

from mambaad.errors import ConfigError

SIZE_MULTIPLE = 32
_LARGEST = 8192


def parse_size(text: str) -> tuple[int, int]:
    """Parse ``"256"`` as (256, 256) and ``"224x320"`` as (224, 320), height and width in pixels.

    Raises:
        ConfigError: not a size, or a side that is not a multiple of 32 between 32 and 8192.
    """
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip())
    if not match:
        raise ConfigError(f"--size: expected 256, or 224x320 (height x width), got '{text}'")
    size = int(match[1]), int(match[2] or match[1])
    check_size(size)
    return size


def check_size(size: tuple[int, int]) -> None:
    """Refuse a height or width that is not a multiple of 32 between 32 and 8192 (ConfigError)."""
    for side in size:
        if side % SIZE_MULTIPLE or not SIZE_MULTIPLE <= side <= _LARGEST:
            nearest = min(max(round(side / SIZE_MULTIPLE), 1), _LARGEST // SIZE_MULTIPLE)
            raise ConfigError(
                f"--size: {side} is not a multiple of {SIZE_MULTIPLE} between {SIZE_MULTIPLE} and "
                f"{_LARGEST}; the nearest is {nearest * SIZE_MULTIPLE}"
            )
