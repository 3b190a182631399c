"""Exported models in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mambaad.errors import ConfigError
from mambaad.inference.exported.floating_point import subnormals_as_zero
from mambaad.inference.exported.kernel import Kernel, without_kernel
from mambaad.inference.exported.one_line import one_line
from mambaad.inference.exported.telemetry import without_telemetry
from mambaad.inference.exported.threads import threads
from mambaad.inference.operator_library import library_path

_ERRORS_ONLY = 3  # of onnxruntime's levels of its log


class OnnxSession:
    """An ONNX model in onnxruntime, on the CPU.

    Args:
        content: of the file of the model.
        kernel: how our operator runs; None if the model has none.

    Attributes:
        has_kernel: whether the operator runs by its kernel.

    Raises:
        ConfigError: onnxruntime or a required kernel is not installed, or the kernel does not load.
        RuntimeError: onnxruntime refuses the model.
    """

    def __init__(self, content: bytes | bytearray, kernel: Kernel | None) -> None:
        without_telemetry()
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                "running this model needs onnxruntime: pip install onnxruntime"
            ) from error
        options = _options(onnxruntime)
        self.has_kernel = False
        if kernel in ("auto", "required"):
            try:
                _register(options, library_path())
                self.has_kernel = True
            except ConfigError as problem:
                without_kernel(kernel, problem)
                options = _options(onnxruntime)  # without what is half registered
        with subnormals_as_zero():
            self._session: Any = onnxruntime.InferenceSession(
                bytes(content), options, providers=["CPUExecutionProvider"]
            )
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """See :meth:`mambaad.inference.exported.engine.Session.run`."""
        with subnormals_as_zero():
            found = self._session.run(self._names, {"images": np.ascontiguousarray(images)})
        return dict(zip(self._names, found, strict=True))


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads()
    # In the session's own threads; in the caller's: subnormals_as_zero.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def _register(options: Any, library: Path) -> None:
    """Register our operator library (ConfigError: onnxruntime refuses it)."""
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:  # onnxruntime has errors of its own
        raise ConfigError(
            f"onnxruntime cannot load the operator library {library} ({one_line(error)}); install "
            "mambaad from a wheel for this platform, or update onnxruntime"
        ) from error
