"""The module that C++ built, and the kernel variant in use; loads no PyTorch."""

from __future__ import annotations

import os
from typing import Any

from mambaad.errors import ConfigError
from mambaad.process import when_server_forks

MODULE: Any
"""``mambaad._native``; None where the package was installed without it."""
VARIANTS: tuple[str, ...]
"""The kernel variants that this processor can run, the fastest first."""
try:
    from mambaad import _native

    MODULE, VARIANTS = _native, tuple(_native.variants())
    # The server has computed nothing: what it forks may have OpenMP's threads, and computes with
    # those of torch. Threads of its own beside them took a third longer.
    when_server_forks(_native.with_openmp)
except ImportError:  # installed without the compiled module: the scan falls back to PyTorch
    MODULE, VARIANTS = None, ()

wanted = os.environ.get("MAMBAAD_KERNEL") or "auto"
"""The kernel that the user wants: one of ``VARIANTS``, or for GPUs see ``operator.py``."""
if wanted not in (_known := ("auto", "triton", "torch", *VARIANTS)):
    raise ConfigError(f"MAMBAAD_KERNEL: expected one of {', '.join(_known)}, got '{wanted}'")
variant: str | None = wanted if wanted in VARIANTS else next(iter(VARIANTS), None)
"""The variant in use."""

MISSING = (
    "mambaad's native kernel is not installed; install mambaad from a wheel for this platform, or "
    "with a C++ compiler"
)
