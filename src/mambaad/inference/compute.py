"""What inference computes with, by name: precision, device, compilation. Loads no library."""

from __future__ import annotations

import re
from typing import Literal, get_args

from mambaad.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Precisions of matrix products and convolutions."""

Compilation = Literal["auto", "off", "default", "cuda-graphs"]
"""Ways to run a network's kernels: launched one by one (``off``); recorded on a GPU and launched
together (``cuda-graphs``); made by torch.compile, and on a GPU recorded too (``default``).
``auto`` is ``cuda-graphs`` on a GPU, else ``off``."""


def check_precision(precision: str) -> None:
    """Refuse an unknown precision (ConfigError)."""
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"--precision: expected one of {known}, got '{precision}'")


def check_compilation(how: str) -> Compilation:
    """Refuse an unknown way to compile (ConfigError)."""
    for known in get_args(Compilation):
        if how == known:
            return how  # type: ignore[return-value]
    raise ConfigError(f"--compile: expected one of {', '.join(get_args(Compilation))}, got '{how}'")


def check_device(name: str) -> str:
    """Refuse an invalid device name, without loading PyTorch (ConfigError)."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"--device: expected auto, cpu, cuda, cuda:N or mps, got '{name}'")
    return name
