"""From a graph to the files of each target."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from mambaad.artifacts.export_folder import ExportPrecision, Target
from mambaad.errors import ConfigError
from mambaad.export.graph import InferenceGraph, traced
from mambaad.export.onnx import onnx_model


class Job(NamedTuple):
    """What is to be written.

    ``graph``: of the model. ``folder``: gets the files. ``precision``: of the products.
    ``images``: those that int8 is quantised on, n x h x w x 3; None for other precisions.
    """

    graph: InferenceGraph
    folder: Path
    precision: ExportPrecision
    images: UInt8[np.ndarray, "n h w 3"] | None


def _write_onnx(job: Job) -> None:
    model = onnx_model(traced(job.graph), job.graph.outputs)
    (job.folder / "model.onnx").write_bytes(model.SerializeToString())


def _write_int8(job: Job) -> None:
    from mambaad.export.quantise import quantised

    assert job.images is not None  # since check_target asks for them
    model = quantised(onnx_model(traced(job.graph), job.graph.outputs), job.images)
    (job.folder / "model.onnx").write_bytes(model.SerializeToString())


def _write_program(job: Job) -> None:
    from mambaad.inference.exported.program_session import OUTPUTS

    names = {OUTPUTS: "\n".join(job.graph.outputs)}
    with warnings.catch_warnings():
        # It warns of weights that lie in one piece of memory, as halves of one do here.
        warnings.simplefilter("ignore")
        torch.export.save(traced(job.graph), job.folder / "model.pt2", extra_files=names)


def _write_openvino(job: Job) -> None:
    from mambaad.export.openvino import write_openvino

    write_openvino(onnx_model(traced(job.graph), job.graph.outputs), job.folder)


WRITERS: dict[tuple[Target, ExportPrecision], Callable[[Job], None]] = {
    ("onnx", "float32"): _write_onnx,
    ("onnx", "int8"): _write_int8,
    ("openvino", "float32"): _write_openvino,
    ("openvino", "bfloat16"): _write_openvino,
    ("torch-export", "float32"): _write_program,
    ("torch-export", "bfloat16"): _write_program,
}
"""The targets and precisions that there are; the types of bfloat16 are those of its graph."""

_REASONS = {
    ("onnx", "bfloat16"): "onnxruntime has no convolutions in bfloat16 on a CPU",
    ("openvino", "int8"): "only ONNX models are quantised",
    ("torch-export", "int8"): "only ONNX models are quantised",
}
"""Why there is no such pair, of those that one may expect."""


def check_target(target: str, precision: str, *, has_data: bool) -> None:
    """Refuse a target, or a precision of it, that there is not (ConfigError).

    ``has_data``: whether there are images to quantise on.
    """
    targets = sorted({known for known, _ in WRITERS})
    if target not in targets:
        raise ConfigError(f"--to: expected one of {', '.join(targets)}, got '{target}'")
    precisions = sorted(known for name, known in WRITERS if name == target)
    if precision not in precisions:
        reason = _REASONS.get((target, precision))
        because = f" ({reason})" if reason else ""
        raise ConfigError(
            f"--precision: {target} has {' and '.join(precisions)}, got '{precision}'{because}; "
            "choose one of them, or another --to"
        )
    if precision == "int8" and not has_data:
        raise ConfigError(
            "--precision int8 needs the data set that the model was trained on; add --data DATA"
        )
    if precision == "float32" and has_data:
        raise ConfigError(
            "--data is for --precision int8 and bfloat16, whose thresholds are set again; omit it"
        )
