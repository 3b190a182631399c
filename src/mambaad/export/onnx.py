"""The graph as an ONNX model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from mambaad.errors import ConfigError

if TYPE_CHECKING:
    import onnx

MISSING = "exporting to ONNX or OpenVINO needs onnxscript: pip install 'mambaad[onnx]'"


def onnx_model(program: torch.export.ExportedProgram, outputs: tuple[str, ...]) -> onnx.ModelProto:
    """Translate a traced graph to an ONNX model, with the definition of the scan in it.

    Args:
        program: of :func:`mambaad.export.graph.traced`.
        outputs: the names of its outputs.

    Raises:
        ConfigError: onnxscript is not installed, or the exporter lacks an operator.
    """
    try:
        from mambaad.ops.selective_scan.onnx import OPSET, TRANSLATIONS, with_definition
    except ImportError as error:
        raise ConfigError(MISSING) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own use of onnxscript
            translated = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(outputs),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"PyTorch cannot translate this model to ONNX ({reason})") from error
    assert translated is not None  # since it was not asked to write a file
    return with_definition(translated.model_proto)
