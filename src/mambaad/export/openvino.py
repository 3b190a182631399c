"""The graph as an OpenVINO model: once with our operator, once without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mambaad.errors import ConfigError
from mambaad.files import temporary_folder
from mambaad.inference.exported.one_line import one_line

if TYPE_CHECKING:
    import onnx


def write_openvino(model: onnx.ModelProto, folder: Path) -> None:
    """Convert an ONNX model, in its own precision.

    Writes ``model.xml`` and ``model.bin``, in which our operator is one node, and ``plain.xml``
    and ``plain.bin``, in which its definition takes its place.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot convert it.
    """
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "exporting to OpenVINO needs openvino: pip install 'mambaad[onnx]'"
        ) from error
    from onnx.inliner import inline_local_functions

    from mambaad.inference.exported.openvino_session import shared_core

    named = type(model)()
    named.CopyFrom(model)
    # OpenVINO looks for an operator of that name, and does not read definitions.
    del named.functions[:]
    for name, one in (("model", named), ("plain", inline_local_functions(model))):
        core = shared_core(with_operator=name == "model")
        with temporary_folder() as temporary:
            path = temporary / "model.onnx"  # it reads files alone
            path.write_bytes(one.SerializeToString())
            try:
                converted = core.read_model(path)
            except RuntimeError as error:
                reason = one_line(error, f"{temporary}/")
                raise ConfigError(f"OpenVINO cannot convert this model ({reason})") from error
            openvino.save_model(converted, folder / f"{name}.xml", compress_to_fp16=False)
