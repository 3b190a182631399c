"""The number of threads that runtimes other than PyTorch compute with."""

from __future__ import annotations

import os


def threads() -> int:
    """The number of threads to compute with: OMP_NUM_THREADS, as for PyTorch, or all cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(int(given), cores or 1) if given.isdigit() and int(given) else cores or 1
