"""Checks of the settings of a training run whose values have a form of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mambaad.errors import ConfigError

# A run's settings may come from anyone; none of them may take all memory.
_MOST_BLOCKS = 64
_LARGEST_KERNEL = 63


def parse_range(value: Any) -> tuple[float, float]:
    """Parse ``"0,1"`` or two numbers as the values of black and of white (ConfigError)."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        black, white = (float(part) for part in parts)
    except (TypeError, ValueError):
        black = white = 0.0
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise ConfigError(
            f"--float-range: expected the values of black and of white, such as 0,1, got {value!r}"
        )
    return black, white


def are_blocks(group: Any) -> bool:
    """Whether something is a list of distinct blocks' indices, 1 or more."""
    return (
        isinstance(group, (list, tuple))
        and len(group) > 0
        and all(type(block) is int and block >= 0 for block in group)
        and len(set(group)) == len(group)
    )


def check_stages(
    depths: tuple[int, ...],
    kernels: tuple[int, ...],
    blocks: int | None,
    named: Callable[[str], str],
) -> None:
    """Refuse sizes of the decoder's stages that do not fit together, or are too large.

    Args:
        depths: HSS blocks of each stage.
        kernels: sizes of the local branches' convolutions.
        blocks: HSS blocks in each LSS module, or None.
        named: gives a setting's name for a message.

    Raises:
        ValueError: one line.
    """
    if blocks and any(depth % blocks for depth in depths):
        raise ValueError(
            f"{named('blocks')}: {blocks} does not divide every one of depths "
            f"{depths}; give 1, or change depths"
        )
    if max(depths) > _MOST_BLOCKS or len(kernels) > _MOST_BLOCKS:
        raise ValueError(
            f"{named('depths, kernels')}: expected at most {_MOST_BLOCKS} blocks a stage and "
            f"{_MOST_BLOCKS} kernels, got {depths} and {kernels}"
        )
    if max(kernels, default=1) > _LARGEST_KERNEL:
        raise ValueError(
            f"{named('kernels')}: expected sizes of at most {_LARGEST_KERNEL}, got {max(kernels)}"
        )
    if min(depths) < 1:
        raise ValueError(f"{named('depths')}: expected 1 block or more a stage, got {depths}")
    if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"{named('kernels')}: expected odd sizes such as 3, 5 or 7, got {kernels}")
