"""How this thread computes with subnormal numbers, while another runtime uses it."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The C library's environment of floating-point numbers (fenv_t), as 32-bit words: how many there
# are, which is the processor's control register, and its bits that make subnormal numbers zero.
_LAYOUTS = {"x86_64": (8, 7, 0x8040), "aarch64": (2, 0, 1 << 24)}


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Within, this thread computes with subnormal numbers as zeros; afterwards as it did before.

    A trained model's states fade through subnormal numbers, which take many times as long. Runtimes
    can leave them out too, but onnxruntime does so for the process's first session alone, and then
    for the thread that made it, for good: numbers of the caller's own would change. Where the
    system is not Linux, a runtime has its way.
    """
    library, layout = _library(), _LAYOUTS.get(platform.machine())
    if library is None or layout is None:
        yield
        return
    words, control, bits = layout
    before = (ctypes.c_uint32 * words)()
    library.fegetenv(before)
    within = type(before)(*before)
    within[control] |= bits
    library.fesetenv(within)
    try:
        yield
    finally:
        library.fesetenv(before)


@functools.cache
def _library() -> Any:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:  # another C library than GNU's
        return None
