"""Exported models in OpenVINO."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mambaad.errors import ConfigError
from mambaad.inference.exported.floating_point import subnormals_as_zero
from mambaad.inference.exported.kernel import Kernel, without_kernel
from mambaad.inference.exported.one_line import one_line
from mambaad.inference.exported.threads import threads
from mambaad.ops import native_module
from mambaad.ops.scan_operator import DOMAIN, OPERATOR

MISSING = "running this model needs OpenVINO: pip install openvino"


class OpenVinoSession:
    """A model in OpenVINO on the CPU, in the precision that it was exported with.

    Args:
        files: the contents of ``model.xml``, ``model.bin``, ``plain.xml`` and ``plain.bin``.
        kernel: how our operator runs; None if the model has none.

    Attributes:
        has_kernel: whether the operator runs by its kernel.

    Raises:
        ConfigError: OpenVINO or a required kernel is not installed.
        RuntimeError: OpenVINO refuses the model.
    """

    def __init__(self, files: Mapping[str, bytes | bytearray], kernel: Kernel | None) -> None:
        try:
            import openvino  # noqa: F401  # to say that it is missing
        except ImportError as error:
            raise ConfigError(MISSING) from error
        core: Any = None
        self.has_kernel = False
        if kernel in ("auto", "required"):
            try:
                core = _core_with_kernel()
                self.has_kernel = True
            except ConfigError as problem:
                without_kernel(kernel, problem)
        if core is None:
            core = shared_core(with_operator=False)
        # A model without our operator is the same twice.
        name = "model" if self.has_kernel else "plain"
        graph, weights = files[f"{name}.xml"], files[f"{name}.bin"]
        model = core.read_model(bytes(graph), bytes(weights))
        # By default it computes in bfloat16 where the processor has it, the maps too. In graphs
        # exported with bfloat16 the products still are, by their types.
        exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads()}
        with subnormals_as_zero():
            self._model: Any = core.compile_model(model, "CPU", exact)
        self._names = [output.get_any_name() for output in self._model.outputs]

    def run(self, images: UInt8[np.ndarray, "b h w 3"]) -> Mapping[str, np.ndarray]:
        """See :meth:`mambaad.inference.exported.engine.Session.run`."""
        with subnormals_as_zero():
            found = self._model([np.ascontiguousarray(images)])
        return {name: np.array(found[i]) for i, name in enumerate(self._names)}


def _core_with_kernel() -> Any:
    """The core with our operator, whose kernel is there (ConfigError)."""
    if native_module.MODULE is None:
        raise ConfigError(native_module.MISSING)
    try:
        return shared_core(with_operator=True)
    except Exception as error:  # OpenVINO has errors of its own
        raise ConfigError(
            f"OpenVINO does not take mambaad's operator ({one_line(error)}); install the version "
            "of openvino that mambaad was tested with"
        ) from error


@functools.cache
def shared_core(*, with_operator: bool) -> Any:
    """An OpenVINO core; with our operator, it knows that by name in ONNX and in its own files.

    There is one of each, until the process ends. When a core goes, it takes away the stack on which
    the thread that first used it handles signals. The garbage collector may let it go in another
    thread; the first thread then has none, and the next Ctrl-C ends the process (SIGSEGV).
    """
    import openvino

    core: Any = openvino.Core()
    if not with_operator:
        return core
    from openvino.frontend.onnx import ConversionExtension

    def convert(node: Any) -> Any:
        inputs = [node.get_input(i) for i in range(node.get_input_size())]
        return _operator()(inputs).outputs()

    core.add_extension(ConversionExtension(OPERATOR, DOMAIN, convert))
    core.add_extension(_operator())
    return core


@functools.cache
def _operator() -> Any:
    """The class of our operator, made when OpenVINO is there."""
    from openvino import Op, Type

    class SelectiveScan(Op):  # type: ignore[misc]  # its types are not read
        """The scan of :func:`mambaad.ops.selective_scan.selective_scan`, by our kernel."""

        def __init__(self, inputs: Any = None) -> None:
            super().__init__(self, inputs)

        def validate_and_infer_types(self) -> None:
            self.set_output_type(0, Type.f32, self.get_input_partial_shape(0))

        def clone_with_new_inputs(self, inputs: Any) -> Any:
            return SelectiveScan(inputs)

        def evaluate(self, outputs: Any, inputs: Any) -> bool:
            u, directions, states = inputs[0].data, len(inputs[4].data), inputs[4].shape[2]
            outputs[0].shape = u.shape
            no_carry = np.empty((len(u), directions, 0, states, u.shape[2]), np.float32)
            arrays = [tensor.data for tensor in inputs]
            native_module.MODULE.forward(
                native_module.variant, threads(), *arrays, outputs[0].data, no_carry
            )
            return True

        def has_evaluate(self) -> bool:
            return True

        def visit_attributes(self, visitor: Any) -> bool:
            return True

    return SelectiveScan
