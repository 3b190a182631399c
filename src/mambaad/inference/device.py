"""The device to compute on: found by name, tried first; and what its errors mean."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch

from mambaad.errors import ConfigError
from mambaad.inference.compute import check_device
from mambaad.ops.selective_scan import operator, selective_scan
from mambaad.process import is_out_of_memory
from mambaad.progress import warn

OLDEST = (7, 5)
"""The lowest compute capability of an NVIDIA GPU that the Triton kernels are compiled for in CI."""

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))  # the last: in WSL
_said: set[str] = set()


def find_device(name: str = "auto") -> torch.device:
    """Find a device by name (``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``), and try it out.

    ``auto`` is the first NVIDIA or AMD GPU that works, or the CPU where there is none. If there are
    some and none works, a line says why, once.

    Raises:
        ConfigError: an invalid name, or a device that cannot be used (but for ``auto``).
    """
    if check_device(name) == "auto":
        problems: list[str] = []
        for index in range(max(torch.cuda.device_count(), 1)):
            found = _problem(f"cuda:{index}")
            if found is None:
                return torch.device("cuda", index)
            problems.append(found)
        if _has_driver() and problems[0] not in _said:
            _said.add(problems[0])
            warn(f"the GPU is not used ({problems[0]}); computing on the CPU")
        name = "cpu"
    if name == "cpu" and operator.triton_on_cpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise ConfigError(
            "MAMBAAD_KERNEL=triton needs a GPU; unset it, or set TRITON_INTERPRET=1 to interpret "
            "the kernels, very slowly"
        )
    problem = _problem(name)
    if problem:
        raise ConfigError(
            f"--device: '{name}' is not available ({problem}); give cpu or another GPU"
        )
    device = torch.device(name)
    return torch.device("cuda", 0) if name == "cuda" else device


def find_type(name: str) -> torch.device:
    """Find the type of several devices, as :func:`find_device` does, without using any of them.

    Their processes would have to share the memory that trying takes.
    """
    if check_device(name) == "auto":
        return torch.device("cuda" if torch.cuda.device_count() else "cpu")
    return torch.device(name.split(":")[0])


def _has_driver() -> bool:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(driver.exists() for driver in _DRIVERS)


def _problem(name: str) -> str | None:
    """Say in one line why a device cannot be used; None if it can."""
    with warnings.catch_warnings(record=True):  # PyTorch warns of what the error says
        warnings.simplefilter("always")
        try:
            device = torch.device(name)
            torch.ones(2, device=device).sum().item()
            if device.type == "cuda" and torch.version.hip is None and (old := _too_old(device)):
                return old
            if operator.uses_triton(device):
                _try_kernel(device)
        except Exception as error:  # PyTorch's, Triton's, or those of a compiler that is missing
            return first_line(error)
    return None


def _try_kernel(device: torch.device) -> None:
    """Scan a single cell: Triton needs a C compiler, for one."""
    u, proj, weight, row = (torch.ones(1, 1, n, device=device) for n in (1, 3, 1, 1))
    order = torch.zeros(1, 1, dtype=torch.int32, device=device)
    selective_scan(u, proj, weight, row[0], -row, row[0], order).sum().item()


def _too_old(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability >= OLDEST or not operator.uses_triton(device):
        return None
    found, oldest = (".".join(map(str, version)) for version in (capability, OLDEST))
    return (
        f"its compute capability {found} is below {oldest}; with MAMBAAD_KERNEL=torch it can be "
        "used, slower"
    )


def is_lost(error: BaseException) -> bool:
    """Whether an error says that a GPU failed: nothing more can be computed on it from here."""
    if is_out_of_memory(error) or "captur" in str(error):  # a graph that could not be recorded
        return False
    kind = getattr(torch, "AcceleratorError", None)  # not in every version
    if kind is not None and isinstance(error, kind):
        return True
    texts = ("CUDA error", "HIP error", "CUDA driver error", "cuDNN error", "Triton Error [")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def memory_of(device: torch.device) -> str:
    """A device's memory in words, for an error that says it is too small."""
    if device.type != "cuda":
        return "the memory"
    try:
        free, total = (count / 2**30 for count in torch.cuda.mem_get_info(device))
    except RuntimeError:
        return "the GPU's memory"
    return f"the GPU's memory ({total:.1f} GiB, {free:.1f} free)"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".;: ") if lines else type(error).__name__
