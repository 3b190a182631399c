"""How our operator runs in another runtime: by its kernel, or by its definition in the graph."""

from __future__ import annotations

import os
from typing import Literal, get_args

from mambaad.errors import ConfigError
from mambaad.progress import warn

Kernel = Literal["auto", "required", "off"]
"""``auto``: by the kernel if it is installed, else by the definition, with a notice, several times
slower; ``required``: by the kernel or not at all; ``off``: by the definition."""

VARIABLE = "MAMBAAD_OPERATOR"
"""The environment variable that chooses."""


def kernel_choice() -> Kernel:
    """Read what the environment asks for (ConfigError: it asks for something else)."""
    given = os.environ.get(VARIABLE) or "auto"
    for known in get_args(Kernel):
        if given == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"{VARIABLE}: expected {', '.join(get_args(Kernel))}, got '{given}'")


class KernelMissingError(ConfigError):
    """The kernel is required, and is not installed or does not load."""


def without_kernel(kernel: Kernel, problem: Exception) -> None:
    """Go on without the kernel, and say so (KernelMissingError: it is required)."""
    if kernel == "required":
        raise KernelMissingError(f"{VARIABLE}=required: {problem}") from problem
    warn(f"{problem}; until then the scan runs as a graph, several times slower")
