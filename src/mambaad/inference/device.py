"""The device to compute on: found by name, tried first; and what its errors mean."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from mambaad.errors import ConfigError
from mambaad.inference.compute import check_device
from mambaad.ops.selective_scan import operator
from mambaad.progress import say

OLDEST = (7, 5)
"""The lowest compute capability of an NVIDIA GPU that the Triton kernels are compiled for in CI."""

_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
_said: set[str] = set()


def find_device(name: str = "auto") -> torch.device:
    """Find a device by name (``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``), and try it out.

    ``auto`` is the first GPU, or the CPU where there is none. Where there is one that cannot be
    used, it is the CPU too, and a line says why, once.

    Raises:
        ConfigError: an invalid name, or a device that cannot be used (but for ``auto``).
    """
    if check_device(name) == "auto":
        problem = _problem("cuda")
        if not problem:
            return torch.device("cuda", torch.cuda.current_device())
        if any(driver.exists() for driver in _DRIVERS) and problem not in _said:
            _said.add(problem)
            say(f"the GPU is not used ({problem}); computing on the CPU")
        return torch.device("cpu")
    problem = _problem(name)
    if problem:
        raise ConfigError(
            f"--device: '{name}' is not available ({problem}); give cpu or another GPU"
        )
    return torch.device(name)


def _problem(name: str) -> str | None:
    """Say in one line why a device cannot be used; None if it can."""
    with warnings.catch_warnings(record=True):  # PyTorch warns of what the error says
        warnings.simplefilter("always")
        try:
            device = torch.device(name)
            torch.ones(2, device=device).sum().item()
            if device.type == "cuda" and torch.version.hip is None:
                return _too_old(device)
        except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
            return first_line(error)
    return None


def _too_old(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability >= OLDEST or not operator.uses_triton(device):
        return None
    found, oldest = (".".join(map(str, version)) for version in (capability, OLDEST))
    return (
        f"its compute capability {found} is below {oldest}; with MAMBAAD_KERNEL=torch it can be "
        "used, slower"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch's says that the device has too little memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and (
        "out of memory" in str(error) or "can't allocate memory" in str(error)
    )


def is_lost(error: BaseException) -> bool:
    """Whether an error says that a GPU failed: nothing more can be computed on it from here."""
    if is_out_of_memory(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # not in every version
    if kind is not None and isinstance(error, kind):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("CUDA error", "HIP error")
    )


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
