"""Checks of the settings that users give, in files and as arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mambaad.documents import shortened
from mambaad.errors import ConfigError

# A run's settings may come from anyone; none of them may take all memory.
_MOST_BLOCKS = 64
_LARGEST_KERNEL = 63


class Settings(BaseModel):
    """Fields of a file: others are refused, infinite numbers too, and true where 1 is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        found = handler(value)
        listed = isinstance(value, (list, tuple)) and isinstance(found, tuple)
        for given, made in zip(value, found, strict=False) if listed else [(value, found)]:
            is_number = isinstance(made, (int, float)) and not isinstance(made, bool)
            if isinstance(given, bool) and is_number:
                raise PydanticCustomError("number", "input should be a number")
        return found


def problem_of(error: ValidationError) -> tuple[str, str]:
    """Say of fields that are not valid which is the first, and what was expected and came there.

    Returns:
        Its name, with dots where it is within others; and ``expected so, got that``.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(shortened(str(part)) for part in first["loc"])
    message = first["msg"]
    if first["type"] == "value_error":  # a check of our own
        return where, message.removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return where, "there is no such field; remove it, or correct its name"
    return where, f"{message[0].lower()}{message[1:]}, got {shortened(repr(first['input']))}"


def parse_range(value: Any) -> tuple[float, float]:
    """Parse ``"0,1"`` or two numbers as the values of black and of white (ConfigError)."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        black, white = (float(part) for part in parts)
    except (TypeError, ValueError):
        black = white = 0.0
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise ConfigError(
            "--float-range: expected the values of black and of white, such as 0,1, "
            f"got {shortened(repr(value))}"
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
            f"{_MOST_BLOCKS} kernels, got {shortened(depths)} "
            f"and {shortened(kernels)}"
        )
    if max(kernels, default=1) > _LARGEST_KERNEL:
        raise ValueError(
            f"{named('kernels')}: expected sizes of at most {_LARGEST_KERNEL}, got {max(kernels)}"
        )
    if min(depths) < 1:
        raise ValueError(f"{named('depths')}: expected 1 block or more a stage, got {depths}")
    if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise ValueError(
            f"{named('kernels')}: expected odd sizes such as 3, 5 or 7, got {shortened(kernels)}"
        )
