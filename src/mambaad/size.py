"""Image sizes: multiples of what the encoder asks for."""

from __future__ import annotations

import re

from mambaad.documents import shortened
from mambaad.errors import ConfigError

SIZE_MULTIPLE = 32
"""What sides are multiples of where the coarsest feature map has stride 32: in every pyramid."""

_LARGEST = 8192


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
