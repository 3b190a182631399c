"""The selective scan as an ONNX graph, which replaces our operator on export (needs onnxscript).

Pass ``custom_translation_table=TRANSLATIONS`` to ``torch.onnx.export``. The graph is one standard
``Scan`` over the L positions, so that it is as small for a large map as for a small one.
"""

# mypy: ignore-errors
# A scripted function is compiled, not run: its names are values of a graph, which mypy cannot
# follow. And no "from __future__ import annotations": onnxscript reads the types of the signature.
from typing import Any

import onnxscript
import torch
from onnxscript import FLOAT, INT32
from onnxscript import opset18 as op


@onnxscript.script()
def selective_scan_onnx(
    u: FLOAT[...],
    proj: FLOAT[...],
    dt_weight: FLOAT[...],
    dt_bias: FLOAT[...],
    A: FLOAT[...],
    skip: FLOAT[...],
    order: INT32[...],
    keep_carry: bool = False,
) -> tuple[FLOAT[...], FLOAT[...]]:
    """The scan of :func:`mambaad.ops.selective_scan.selective_scan`.

    The second result stands for the operator's carry, which exported models do not use. In here
    tensors are k x l x b x ... (direction, step, image), so that step t is at ``[:, t]``.
    """
    directions = op.Shape(dt_weight, start=0, end=1)
    rank, states = op.Shape(dt_weight, start=2, end=3), op.Shape(A, start=2, end=3)
    visited = op.Cast(order, to=7)  # int64, k x l
    u_t = op.Gather(op.Transpose(u, perm=[1, 0, 2]), visited, axis=0)
    split_shape = op.Concat([0, 0], directions, [-1], axis=0)
    rows = op.Transpose(op.Reshape(proj, split_shape), perm=[2, 1, 0, 3])
    rows_t = op.GatherND(rows, op.Unsqueeze(visited, [2]), batch_dims=1)
    low, B, C = op.Split(rows_t, op.Concat(rank, states, states, axis=0), axis=3)
    weight = op.Unsqueeze(op.Transpose(dt_weight, perm=[0, 2, 1]), [1])
    dt = op.Softplus(op.MatMul(low, weight) + op.Unsqueeze(dt_bias, [1, 2]))

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
        decay = op.Exp(op.Unsqueeze(dt_1, [3]) * A_same)
        new_h = decay * h + op.Unsqueeze(added_1, [3]) * op.Unsqueeze(B_1, [2])
        y_1 = op.Squeeze(op.MatMul(new_h, op.Unsqueeze(C_1, [3])), [3])
        return new_h, op.Identity(A_same), y_1

    h_shape = op.Concat(
        directions, op.Shape(u, start=0, end=1), op.Shape(u, start=2, end=3), states, axis=0
    )
    zeros = op.Expand(op.CastLike(0.0, u), h_shape)
    _, _, y_t = op.Scan(
        zeros,
        op.Unsqueeze(A, [1]),
        dt,
        dt * u_t,
        B,
        C,
        body=step,
        num_scan_inputs=4,
        scan_input_axes=[1, 1, 1, 1],
        scan_output_axes=[1],
    )
    length = op.Squeeze(op.Shape(visited, start=1, end=2), [0])
    steps = op.Expand(op.Range(0, length, 1), op.Shape(visited))
    when = op.ScatterElements(visited, visited, steps, axis=1)  # when[k, order[k, t]] = t
    y_k = op.GatherND(y_t, op.Unsqueeze(when, [2]), batch_dims=1)
    y = op.Transpose(op.ReduceSum(y_k, [0], keepdims=0), perm=[1, 0, 2])
    return y + u * op.ReduceSum(skip, [0], keepdims=0), op.Identity(zeros)


TRANSLATIONS: dict[Any, Any] = {torch.ops.mambaad.selective_scan.default: selective_scan_onnx}
"""From our operator to its ONNX form."""
