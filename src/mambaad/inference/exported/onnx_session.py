"""Exported models in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mambaad.errors import ConfigError
from mambaad.inference.exported.kernel import Kernel, without_kernel
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
        ConfigError: onnxruntime or a required kernel is not installed.
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
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads()
        # A trained model's states fade through subnormal numbers, which take many times as long.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self.has_kernel = False
        if kernel in ("auto", "required"):
            try:
                options.register_custom_ops_library(str(library_path()))
                self.has_kernel = True
            except ConfigError as problem:
                without_kernel(kernel, problem)
        self._session: Any = onnxruntime.InferenceSession(
            bytes(content), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """See :meth:`mambaad.inference.exported.engine.Session.run`."""
        found = self._session.run(self._names, {"images": np.ascontiguousarray(images)})
        return dict(zip(self._names, found, strict=True))
