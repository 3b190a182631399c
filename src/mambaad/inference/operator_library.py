"""The custom-operator library for onnxruntime: the selective scan's C++ kernel, without PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from mambaad.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
_NAMES = {"win32": "mambaad_onnxruntime.dll", "darwin": "libmambaad_onnxruntime.dylib"}


def library_path() -> Path:
    """The library's file, for ``SessionOptions.register_custom_ops_library``.

    It provides ``SelectiveScan`` of the domain ``mambaad``, version 1, to onnxruntime 1.17 and
    newer: inputs u (b, l, d), proj (b, l, p), dt_weight (k, d, r), dt_bias (k, d), A (k, d, n),
    skip (k, d) in float32 and order (k, l) in int32; output y (b, l, d) in float32; all as in
    :func:`mambaad.ops.selective_scan.selective_scan`. It works on the session's intra-op threads,
    with the fastest kernel that the processor can run or that ``MAMBAAD_KERNEL`` names.
    onnxruntime runs it in graphs that ask for a later version as well: who loads a graph checks
    the version that it imports.

    Raises:
        ConfigError: this installation has no such file.
    """
    path = _PACKAGE / _NAMES.get(sys.platform, "libmambaad_onnxruntime.so")
    if not path.is_file():
        raise ConfigError(
            f"the operator library for onnxruntime is missing: expected {path}; install mambaad "
            "from a wheel for this platform, or with a C++ compiler"
        )
    return path
