"""The machine that a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mambaad.ops import native


def machine() -> dict[str, Any]:
    """Describe processor, memory, threads and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * 4096 / 2**30, 1),
        "threads": torch.get_num_threads(),
        "kernel": native.variant,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("mambaad", "torch", "timm")},
    }
