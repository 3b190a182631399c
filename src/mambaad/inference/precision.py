"""Precisions of inference, by name."""

from __future__ import annotations

from typing import Literal, get_args

from mambaad.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions of matrix products and convolutions."""


def check_precision(precision: str) -> None:
    """Refuse an unknown precision (ConfigError)."""
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"--precision: expected one of {known}, got '{precision}'")
