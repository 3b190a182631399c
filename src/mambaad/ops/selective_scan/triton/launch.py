"""The scan and its gradients as functions of tensors: divide the work, and launch the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton

from mambaad.ops.selective_scan.triton.backward import backward_kernel
from mambaad.ops.selective_scan.triton.forward import forward_kernel

Tensors = tuple[torch.Tensor, ...]


class Tiling(NamedTuple):
    """Steps and channels of a tile, powers of two; segments of the sequence, 0: by the device."""

    steps: int = 16
    channels: int = 16
    segments: int = 0


TILING = Tiling()
_PROGRAMS_A_PROCESSOR = 8
"""Enough programs to keep a multiprocessor busy while some of them wait for memory."""


class _Plan(NamedTuple):
    """The division of a scan: the grid of programs, and the kernels' arguments that follow."""

    grid: tuple[int, int, int]  # channel blocks, segments, images x directions
    sizes: tuple[int, int, int, int]  # L, D, K, tiles a segment
    state_shape: tuple[int, ...]  # of one state a segment
    meta: dict[str, Any]  # compile-time arguments

    @property
    def segments(self) -> int:
        return self.grid[1]


def _plan(inputs: Tensors, tiling: Tiling, warps: int = 4) -> _Plan:
    u, _, dt_weight, _, A, *_ = inputs
    batch, length, channels = u.shape
    directions, _, rank = dt_weight.shape
    states = A.shape[2]
    blocks = -(-channels // tiling.channels)
    all_tiles = max(-(-length // tiling.steps), 1)
    segments = tiling.segments
    if not segments:
        segments = 1
        if u.is_cuda:
            processors = torch.cuda.get_device_properties(u.device).multi_processor_count
            wanted = _PROGRAMS_A_PROCESSOR * processors
            segments = wanted // max(batch * directions * blocks, 1)
    tiles = -(-all_tiles // min(max(segments, 1), all_tiles))
    segments = -(-all_tiles // tiles)
    meta = {
        "R": rank,
        "N": states,
        "RP": triton.next_power_of_2(rank),
        "NP": triton.next_power_of_2(states),
        "BD": tiling.channels,
        "T": tiling.steps,
        "num_warps": warps,
    }
    return _Plan(
        (blocks, segments, batch * directions),
        (length, channels, directions, tiles),
        (batch, directions, segments, channels, states),
        meta,
    )


def carry_shape(u: torch.Tensor, A: torch.Tensor, tiling: Tiling = TILING) -> tuple[int, ...]:
    """The shape of the states that the backward starts from: one before each tile."""
    tiles = -(-u.shape[1] // tiling.steps)
    return u.shape[0], A.shape[0], tiles, u.shape[2], A.shape[2]


def forward(inputs: Tensors, carry: torch.Tensor, tiling: Tiling = TILING) -> torch.Tensor:
    """The scan of u, proj, dt_weight, dt_bias, A, skip and order.

    Args:
        inputs: u and proj float32, bfloat16 or float16; order int32; the others float32.
        carry: float32, filled; of :func:`carry_shape`, or without tiles to keep no states.
        tiling: the division of the work.

    Returns:
        y in float32.
    """
    u, *_, A, _, _ = inputs = tuple(t.contiguous() for t in inputs)
    plan = _plan(inputs, tiling)
    y = _zeros(u, u.shape)
    if not u.numel():
        return y
    start = _zeros(u, plan.state_shape)
    with torch.cuda.device_of(u):  # Triton launches on the current GPU
        if plan.segments > 1:
            end, dt_sum = _zeros(u, plan.state_shape), _zeros(u, plan.state_shape[:4])
            forward_kernel[plan.grid](
                *inputs, start, y, carry, end, dt_sum, *plan.sizes, **plan.meta, STATES_ONLY=True,
                KEEP=False,
            )  # fmt: skip
            _chain(start, end, dt_sum, A, range(plan.segments))
        forward_kernel[plan.grid](
            *inputs, start, y, carry, start, start, *plan.sizes, **plan.meta, STATES_ONLY=False,
            KEEP=carry.shape[2] > 0,
        )  # fmt: skip
    return y


def backward(
    inputs: Tensors, carry: torch.Tensor, grad_y: torch.Tensor, tiling: Tiling = TILING
) -> Tensors:
    """The gradients of all inputs but order, in the inputs' dtypes.

    Args:
        inputs: those of :func:`forward`.
        carry: filled by :func:`forward` with the same tiling.
        grad_y: float32, the gradient of y.
        tiling: that of :func:`forward`.

    Raises:
        ValueError: ``carry`` has no states, or those of another tiling.
    """
    u, *_, A, _, _ = inputs = tuple(t.contiguous() for t in inputs)
    expected = carry_shape(u, A, tiling)
    if carry.shape != expected:
        raise ValueError(
            f"carry has shape {tuple(carry.shape)}, expected {expected}: give forward one to fill"
        )
    plan = _plan(inputs, tiling, warps=8)  # it holds twice as much at a time
    grads = [_zeros(u, tensor.shape) for tensor in inputs[:-1]]
    if not u.numel():
        return tuple(g.to(t.dtype) for g, t in zip(grads, inputs, strict=False))
    with torch.cuda.device_of(u):
        given = (*inputs, carry.contiguous(), grad_y.contiguous())
        after = _zeros(u, plan.state_shape)
        if plan.segments > 1:
            before, dt_sum = _zeros(u, plan.state_shape), _zeros(u, plan.state_shape[:4])
            backward_kernel[plan.grid](
                *given, after, *grads, before, dt_sum, *plan.sizes, **plan.meta, COSTATES_ONLY=True
            )
            _chain(after, before, dt_sum, A, range(plan.segments)[::-1])
        backward_kernel[plan.grid](
            *given, after, *grads, after, after, *plan.sizes, **plan.meta, COSTATES_ONLY=False
        )
    return tuple(g.to(t.dtype) for g, t in zip(grads, inputs, strict=False))


def _chain(
    at: torch.Tensor, out: torch.Tensor, dt_sum: torch.Tensor, A: torch.Tensor, segments: range
) -> None:
    """Fill in the state at the beginning of each segment, in the order they are scanned.

    Args:
        at: filled: what comes into each segment.
        out: what comes out of each segment that starts from zero.
        dt_sum: the sum of each segment's dt, from which its whole decay follows.
        A: the state matrix.
        segments: in their order, first to last in the direction of the scan.
    """
    coming = torch.zeros_like(out[:, :, 0])
    for segment in segments:
        at[:, :, segment] = coming
        decay = torch.exp(dt_sum[:, :, segment, :, None] * A)
        coming = decay * coming + out[:, :, segment]


def _zeros(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(tuple(shape), dtype=torch.float32, device=like.device)
