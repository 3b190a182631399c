"""An ONNX model in int8: encoder, fusion and the decoder's products; all else in float32."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from mambaad.errors import ConfigError
from mambaad.files import temporary_folder
from mambaad.inference.exported.one_line import one_line
from mambaad.inference.exported.telemetry import without_telemetry
from mambaad.ops.scan_operator import DOMAIN, VERSION

if TYPE_CHECKING:
    import onnx

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Where PyTorch's exporter says which modules a node came from."""
_HEAD = "model.head"


def quantised(model: onnx.ModelProto, images: UInt8[np.ndarray, "n h w 3"]) -> onnx.ModelProto:
    """Quantise the convolutions of a model, as which it has all its products.

    Weights (int8) have a scale for each channel, activations (uint8) one that is chosen on
    ``images``, as pairs of QuantizeLinear and DequantizeLinear. The scan, norms, the residual head,
    and all that maps and scores are made by stay in float32.

    Args:
        model: of :func:`mambaad.export.onnx.onnx_model`.
        images: good parts that it was trained on, at its size.

    Raises:
        ConfigError: onnxruntime is not installed, or cannot quantise it.
    """
    without_telemetry()
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )
    except ImportError as error:
        raise ConfigError(
            "quantising needs onnx and onnxruntime: pip install 'mambaad[onnx]'"
        ) from error

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # its types are not read
        """Gives the images one by one."""

        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> Any:
            image = next(self._left, None)
            return None if image is None else {"images": image[None]}

    with temporary_folder() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own use of onnx
        given, made = temporary / "given.onnx", temporary / "made.onnx"
        given.write_bytes(model.SerializeToString())
        try:
            quantize_static(
                given,
                made,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=[node.name for node in model.graph.node if _is_of_head(node)],
                per_channel=True,
                # With a sign, onnxruntime computes most of the convolutions in float32.
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime has errors of its own
            reason = one_line(error, f"{temporary}/")
            raise ConfigError(f"onnxruntime cannot quantise this model ({reason})") from error
        found = onnx.load(str(made))
    del found.functions[:]
    found.functions.extend(model.functions)
    if all(opset.domain != DOMAIN for opset in found.opset_import):
        found.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return found


def _is_of_head(node: Any) -> bool:
    scopes = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES, "")
    return f"'{_HEAD}" in scopes
