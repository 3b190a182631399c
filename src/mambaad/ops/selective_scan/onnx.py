"""The selective scan as an ONNX operator, which replaces ours on export (needs onnxscript).

A graph names the operator ``mambaad::SelectiveScan``, version 1, and carries its definition as a
model-local function: one standard ``Scan`` over the L positions, as small for a large map as for a
small one. A runtime that knows the operator uses its kernel; any other runs the definition.

Pass ``custom_translation_table=TRANSLATIONS`` to ``torch.onnx.export``, and what it gives to
:func:`with_definition`.
"""

# mypy: ignore-errors
# A scripted function is compiled, not run: its names are values of a graph, which mypy cannot
# follow. And no "from __future__ import annotations": onnxscript reads the types of the signature.
from pathlib import Path
from typing import Any

import onnx
import onnxscript
import torch
from onnx.inliner import inline_local_functions
from onnxscript import FLOAT, INT32
from onnxscript import opset18 as op

from mambaad.ops.scan_operator import DOMAIN, OPERATOR, VERSION

OPSET = 18
"""The version of ONNX's own operators that the definition is written in."""
_OPERATORS = onnxscript.values.Opset(DOMAIN, VERSION)
_INPUTS = ("u", "proj", "dt_weight", "dt_bias", "A", "skip", "order")


@onnxscript.script(_OPERATORS, default_opset=op)
def SelectiveScan(  # the operator's name
    u: FLOAT[...],
    proj: FLOAT[...],
    dt_weight: FLOAT[...],
    dt_bias: FLOAT[...],
    A: FLOAT[...],
    skip: FLOAT[...],
    order: INT32[...],
) -> FLOAT[...]:
    """The scan of :func:`mambaad.ops.selective_scan.selective_scan`.

    In here tensors are l x k x b x ... (step, direction, image), so that those of a step lie
    together; the state is n x d, whose longer axis runs through memory.
    """
    directions = op.Shape(dt_weight, start=0, end=1)
    rank, states = op.Shape(dt_weight, start=2, end=3), op.Shape(A, start=2, end=3)
    kn = op.Squeeze(directions, [0])
    visited = op.Transpose(op.Cast(order, to=7), perm=[1, 0])  # int64, l x k
    own = op.Unsqueeze(op.Range(0, kn, 1), [0])  # 1 x k: the number of each direction
    u_t = op.Gather(op.Transpose(u, perm=[1, 0, 2]), visited, axis=0)
    # All rows of a position, one for each direction: row k of position i is at i K + k.
    batch, length = op.Shape(u, start=0, end=1), op.Shape(u, start=1, end=2)
    rows = op.Reshape(proj, op.Concat(batch, length * directions, [-1], axis=0))
    rows_t = op.Gather(op.Transpose(rows, perm=[1, 0, 2]), visited * kn + own, axis=0)
    low, B, C = op.Split(rows_t, op.Concat(rank, states, states, axis=0), axis=3)
    dt_raw = op.MatMul(low, op.Transpose(dt_weight, perm=[0, 2, 1]))
    dt = op.Softplus(dt_raw + op.Unsqueeze(dt_bias, [1]))

    # A is passed from step to step: OpenVINO refuses a body that uses values from outside.
    @onnxscript.graph()
    def step(
        h: FLOAT[...],
        A_same: FLOAT[...],
        dt_1: FLOAT[...],
        added_1: FLOAT[...],
        B_1: FLOAT[...],
        C_1: FLOAT[...],
    ):
        decay = op.Exp(op.Unsqueeze(dt_1, [2]) * A_same)
        new_h = decay * h + op.Unsqueeze(added_1, [2]) * op.Unsqueeze(B_1, [3])
        y_1 = op.Squeeze(op.MatMul(op.Unsqueeze(C_1, [2]), new_h), [2])
        return new_h, op.Identity(A_same), y_1

    h_shape = op.Concat(directions, batch, states, op.Shape(u, start=2, end=3), axis=0)
    zeros = op.Expand(op.CastLike(0.0, u), h_shape)
    _, _, y_t = op.Scan(
        zeros,
        op.Unsqueeze(op.Transpose(A, perm=[0, 2, 1]), [1]),
        dt,
        dt * u_t,
        B,
        C,
        body=step,
        num_scan_inputs=4,
    )
    ln = op.Squeeze(length, [0])
    steps = op.Expand(op.Unsqueeze(op.Range(0, ln, 1), [1]), op.Shape(visited))
    when = op.ScatterElements(visited, visited, steps, axis=0)  # when[order[k, t], k] = t
    y_rows = op.Reshape(y_t, op.Concat(length * directions, batch, [-1], axis=0))
    y_k = op.Gather(y_rows, when * kn + own, axis=0)
    y = op.Transpose(op.ReduceSum(y_k, [1], keepdims=0), perm=[1, 0, 2])
    return y + u * op.ReduceSum(skip, [0], keepdims=0)


def _schema() -> onnx.defs.OpSchema:
    parameter = onnx.defs.OpSchema.FormalParameter
    types = ["tensor(int32)" if name == "order" else "tensor(float)" for name in _INPUTS]
    inputs = [parameter(name, type_) for name, type_ in zip(_INPUTS, types, strict=True)]
    outputs = [parameter("y", "tensor(float)")]
    return onnx.defs.OpSchema(OPERATOR, DOMAIN, VERSION, inputs=inputs, outputs=outputs)


_OPERATOR = onnxscript.values.Op(_OPERATORS, OPERATOR, _schema())


def _named(u, proj, dt_weight, dt_bias, A, skip, order, keep_carry: bool = False):
    """Name the operator; its y also stands for the carry, which exported models do not use."""
    y = _OPERATOR(u, proj, dt_weight, dt_bias, A, skip, order)
    return y, op.Identity(y)


TRANSLATIONS: dict[Any, Any] = {torch.ops.mambaad.selective_scan.default: _named}
"""From our operator to its ONNX form."""


def with_definition(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the definition of the operator to a model that names it, in place; returns the model."""
    if any(node.domain == DOMAIN for node in model.graph.node):
        model.functions.append(SelectiveScan.to_function_proto())
        if all(opset.domain != DOMAIN for opset in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))
    return model


def define_in(path: str | Path, *, inline: bool = False) -> None:
    """Add the definition of the operator to the file of a model that names it.

    With ``inline`` it takes the place of the operator, for OpenVINO, which reads no definitions.
    """
    model = with_definition(onnx.load(str(path), load_external_data=False))
    onnx.save(inline_local_functions(model) if inline else model, str(path))
