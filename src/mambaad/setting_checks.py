"""Checks of the settings that users give, in files and as arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

from mambaad.documents import shortened
from mambaad.errors import ConfigError
from mambaad.size import SIZE_MULTIPLE, check_tiles, parse_tiles

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


class TileSettings(Settings):
    """The settings of large images, which are seen in tiles (:mod:`mambaad.data.tiling`)."""

    tiles: tuple[int, int] | None = Field(
        None,
        description="size and stride of the tiles of large images, which are seen at their own "
        "resolution beside the image as a whole",
    )
    tile_views: int = Field(
        16, ge=1, le=10**4, description="tiles of an image that are trained on, on average"
    )
    tile_positions: Literal["random", "grid"] = Field(
        "random", description="where the tiles lie that are trained on"
    )

    @field_validator("tiles", mode="before")
    @classmethod
    def _tiles(cls, value: Any) -> Any:
        return as_tiles(value)

    @staticmethod
    def size_of_tiles(given: Any) -> dict[str, tuple[int, int]]:
        """The setting ``size`` that goes with tiles as they are given; none without tiles."""
        tiles = as_tiles(given)
        return {"size": (tiles[0], tiles[0])} if isinstance(tiles, tuple) and tiles else {}

    def check_tiled(self, size: tuple[int, int], patch: int | None, devices: int) -> None:
        """Refuse tiles that do not go with the other settings (ConfigError).

        Args:
            size: of the images that the network sees.
            patch: side of the encoder's patches, if it is a vision transformer on one grid.
            devices: number of processes.
        """
        if self.tiles is None:
            return
        check_tiles(self.tiles)
        side = self.tiles[0]
        if size != (side, side):
            raise ConfigError(
                f"--size: with --tiles {side} every image is seen at {side} x {side} pixels, got "
                f"{size[0]} x {size[1]}; omit it"
            )
        if patch and SIZE_MULTIPLE % patch:
            raise ConfigError(
                f"--tiles lie on a grid of {SIZE_MULTIPLE} pixels, which patches of {patch} do not "
                "divide; give another --encoder, or omit it"
            )
        if devices > 1:
            raise ConfigError(
                f"--tiles are trained on by one process, got {devices} (--devices, or those that "
                "torchrun started); start one, or omit --tiles"
            )


def as_tiles(value: Any) -> Any:
    """Make two numbers of tiles as they are given, as a text or a list; else return the value.

    Raises:
        ConfigError: a text that is no such (:func:`mambaad.size.parse_tiles`).
    """
    if isinstance(value, str) or type(value) is int:
        return parse_tiles(str(value))
    return tuple(value) if isinstance(value, list) else value


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
