"""The CUDA kernels as programs: compiled for a GPU by NVRTC at their first use, and launched.

NVRTC and its bindings come with PyTorch's builds for CUDA. Compiling takes some seconds; the
machine code is kept in the user's cache folder (``XDG_CACHE_HOME``), as Triton keeps its own.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from mambaad.errors import RunError
from mambaad.files import written_whole

CHANNELS, STATES = 16, 16
"""Of a program: as in tile.cuh."""
_OLDEST = 80
"""The lowest compute capability that can copy ahead (cp.async)."""
FILES = {
    **dict.fromkeys(("forward", "forward_kept", "states_only"), "forward.cu"),
    **dict.fromkeys(("costates", "backward"), "backward.cu"),
}
"""The file of each kernel."""
FOLDER = Path(__file__).parent
_LANES = 32


def takes(device: torch.device, states: int) -> bool:
    """Whether these kernels run on a device, for this many states."""
    wanted = os.environ.get("MAMBAAD_KERNEL") != "triton"
    return states <= STATES and wanted and device.type == "cuda" and _is_available(device)


@functools.cache
def _is_available(device: torch.device) -> bool:
    if torch.version.hip is not None or _capability(device) < _OLDEST:
        return False
    try:
        load("forward", device, ranks_for(1))
    except (ImportError, RuntimeError, OSError):  # no bindings or no NVRTC: Triton's kernels do it
        return False
    return True


def _capability(device: torch.device) -> int:
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def ranks_for(rank: int) -> int:
    """The ``RANKS`` of tile.cuh to compile with for a rank."""
    return next((ranks for ranks in (8, 16) if rank <= ranks), 32)


def compile_file(name: str, capability: int, ranks: int) -> bytes:
    """Compile one of the files for a compute capability (90: 9.0), or find what was compiled.

    Returns:
        Machine code; for a GPU that NVRTC does not know, code that its driver translates.

    Raises:
        ImportError: cuda-bindings is not installed.
        RuntimeError: NVRTC is missing, or refuses the code.
    """
    from cuda.bindings import nvrtc

    known = [arch for arch in _checked(nvrtc.nvrtcGetSupportedArchs()) if arch <= capability]
    target = ("sm_" if capability in known else "compute_") + str(max(known))
    options = [f"--gpu-architecture={target}", "--std=c++17", f"--define-macro=RANKS={ranks}"]
    sources = [path.read_bytes() for path in (FOLDER / name, *sorted(FOLDER.glob("*.cuh")))]
    version = nvrtc.nvrtcVersion()[1:]
    digest = hashlib.sha256(repr((version, options, sources)).encode()).hexdigest()
    kept = _cache_folder() / f"{name}-{digest[:32]}"
    with suppress(OSError):
        return kept.read_bytes()
    binary = _compiled(name, sources[0], [*options, f"--include-path={FOLDER}"])
    with suppress(OSError, RunError):  # a full disk, or none to write to
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(kept) as temporary:
            temporary.write_bytes(binary)
    return binary


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "mambaad" / "kernels"


def _compiled(name: str, source: bytes, options: list[str]) -> bytes:
    from cuda.bindings import nvrtc

    program = _checked(nvrtc.nvrtcCreateProgram(source, name.encode(), 0, None, None))
    given = [option.encode() for option in options]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(given), given)
    if error:
        log = bytes(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(
            f"{name} does not compile ({options[0]}): {log.decode(errors='replace')}"
        )
    if "=sm_" in options[0]:
        binary = bytes(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, binary))
    else:
        binary = bytes(_checked(nvrtc.nvrtcGetPTXSize(program)))
        _checked(nvrtc.nvrtcGetPTX(program, binary))
    _checked(nvrtc.nvrtcDestroyProgram(program))
    return binary


@functools.cache
def _module(name: str, device: torch.device, ranks: int) -> Any:
    from cuda.bindings import driver

    binary = compile_file(name, _capability(device), ranks)
    with torch.cuda.device(device):
        torch.cuda.current_stream().synchronize()  # makes the device's context the current one
        return _checked(driver.cuModuleLoadData(binary))


@functools.cache
def load(kernel: str, device: torch.device, ranks: int) -> Any:
    """Load a kernel onto a device, compiled if need be; the errors are :func:`compile_file`'s."""
    from cuda.bindings import driver

    module = _module(FILES[kernel], device, ranks)
    return _checked(driver.cuModuleGetFunction(module, kernel.encode()))


def pointers(*arguments: torch.Tensor | ctypes.Structure) -> tuple[ctypes.Array[Any], list[Any]]:
    """What CUDA takes as a kernel's arguments: pointers to each, and what must outlive them."""
    values = [
        ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor) else a for a in arguments
    ]
    return (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)), values


def launch(
    kernel: str,
    device: torch.device,
    ranks: int,
    grid: tuple[int, int, int],
    *arguments: torch.Tensor | ctypes.Structure,
) -> None:
    """Launch a kernel's programs, of a warp each, on a device's current stream."""
    from cuda.bindings import driver

    array, _values = pointers(*arguments)
    stream = torch.cuda.current_stream(device).cuda_stream
    function = load(kernel, device, ranks)
    _checked(
        driver.cuLaunchKernel(function, *grid, _LANES, 1, 1, 0, stream, ctypes.addressof(array), 0)
    )


def _checked(result: tuple[Any, ...]) -> Any:
    error, *values = result
    if error:
        raise RuntimeError(f"CUDA: {error.name}")
    return values[0] if values else None
