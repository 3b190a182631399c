"""The CUDA kernels as programs: compiled for a GPU by NVRTC at their first use, and launched.

NVRTC comes with PyTorch's builds for CUDA, its bindings (cuda-bindings) from PyTorch 2.11 on.
Compiling takes some seconds; the machine code is kept in the user's cache folder
(``XDG_CACHE_HOME``), as Triton keeps its own.
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
from mambaad.files import read_regular, written_whole
from mambaad.ops import native
from mambaad.progress import warn

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
_MOST_KEPT = 2**26  # bytes of machine code


def takes(device: torch.device, states: int) -> bool:
    """Whether these kernels run on a device, for this many states."""
    is_wanted = native.wanted != "triton" and states <= STATES
    return is_wanted and device.type == "cuda" and _is_available(device)


@functools.cache
def _is_available(device: torch.device) -> bool:
    if torch.version.hip is not None or _capability(device) < _OLDEST:
        return False
    try:
        for kernel in ("forward", "backward"):
            load(kernel, device, ranks_for(1))
    except ImportError:
        problem = "cuda-bindings is not installed (pip install cuda-bindings)"
    except torch.OutOfMemoryError:
        raise  # not of the kernels, and not for ever
    except (RuntimeError, OSError) as error:
        problem = str(error).splitlines()[0]
    else:
        return True
    warn(f"the scan runs by Triton's kernels, half as fast: {problem}")
    return False


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
    folder = _cache_folder()
    kept = folder and folder / f"{name}-{digest[:32]}"
    binary = _read_kept(kept) if kept else None
    if binary is None:
        binary = _compiled(name, sources[0], [*options, f"--include-path={FOLDER}"])
        if kept:
            _keep(kept, binary)
    return binary


def _cache_folder() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        return (Path(base) if base else Path.home() / ".cache") / "mambaad" / "kernels"
    return None


def _read_kept(path: Path) -> bytes | None:
    """Read what was kept; None if there is nothing, or it is damaged."""
    with suppress(OSError):
        content = read_regular(path, _MOST_KEPT)
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return content[32:]
    return None


def _keep(path: Path, binary: bytes) -> None:
    """Keep machine code behind its digest, unless the disk is full or cannot be written."""
    with suppress(OSError, RunError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            temporary.write_bytes(hashlib.sha256(binary).digest() + binary)


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
        torch.zeros(1, device=device)  # makes the device's context the current one
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
        if error.name == "CUDA_ERROR_OUT_OF_MEMORY":
            raise torch.OutOfMemoryError(f"CUDA error: out of memory ({error.name})")
        raise RuntimeError(f"CUDA error: {error.name}")
    return values[0] if values else None
