"""The time step's Triton kernels, launched by a plan."""

from __future__ import annotations

from typing import Any

import torch
import triton

from mambaad.ops.selective_scan.plan import Plan
from mambaad.ops.selective_scan.triton.time_steps import (
    expand_kernel,
    low_gradient_kernel,
    weight_gradient_kernel,
)

Tensors = tuple[torch.Tensor, ...]

_BLOCK_OF_STEPS, _BLOCK_OF_CHANNELS = 64, 32
"""The tiles of the time step's matrix products."""
_PROGRAMS = 1024
"""Of the product that sums over images and steps: enough to fill a large GPU."""


def product_of(rank: int, *, hip: bool = torch.version.hip is not None) -> dict[str, Any]:
    """The tile of a product over the rank, which tensor cores take from 16 values up."""
    return {
        "RP": max(triton.next_power_of_2(rank), 16),
        "BT": _BLOCK_OF_STEPS,
        "BD": _BLOCK_OF_CHANNELS,
        "PRECISION": "ieee" if hip else "tf32x3",  # both of float32's precision
    }


def product_warps(rank: int) -> int:
    """The warps of a program of these products: more where four would spill registers."""
    return 4 if rank <= 16 else 8


def _sizes(plan: Plan) -> tuple[int, ...]:
    return plan.length, plan.channels, plan.directions, plan.first_pair


def _constants(plan: Plan) -> dict[str, Any]:
    sizes = {"R": plan.rank, "N": plan.states, **product_of(plan.rank)}
    return {**sizes, "num_warps": product_warps(plan.rank)}


def expand(inputs: Tensors, plan: Plan) -> torch.Tensor:
    """dt of the plan's images, in each direction's order: float32, pairs x L x D."""
    u, proj, dt_weight, dt_bias, _, _, order = inputs
    pairs = plan.grid[2]
    dt = torch.empty((pairs, plan.length, plan.channels), dtype=torch.float32, device=u.device)
    steps = -(-plan.length // _BLOCK_OF_STEPS)
    grid = (steps, -(-plan.channels // _BLOCK_OF_CHANNELS), pairs)
    expand_kernel[grid](proj, dt_weight, dt_bias, order, dt, *_sizes(plan), **_constants(plan))
    return dt


def fill_low_gradient(
    grad_z: torch.Tensor, inputs: Tensors, grad_proj: torch.Tensor, plan: Plan
) -> None:
    """Fill low's part of ``grad_proj``: the sum over channels of grad_z W."""
    _, _, dt_weight, _, _, _, order = inputs
    grid = (-(-plan.length // _BLOCK_OF_STEPS), plan.grid[2])
    low_gradient_kernel[grid](
        grad_z, dt_weight, order, grad_proj, *_sizes(plan), **_constants(plan)
    )


def weight_gradients(
    grad_z: torch.Tensor, inputs: Tensors, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of W and bias, K x D x R and K x D, of the plan's images."""
    _, proj, _, _, _, _, order = inputs
    blocks, directions = -(-plan.channels // _BLOCK_OF_CHANNELS), plan.directions
    tiles = plan.grid[2] // directions * -(-plan.length // _BLOCK_OF_STEPS)
    of_part = -(-tiles // max(_PROGRAMS // (blocks * directions), 1))
    parts = -(-tiles // of_part)
    parts_W = grad_z.new_empty((parts, directions, plan.channels, plan.rank))
    parts_bias = grad_z.new_empty((parts, directions, plan.channels))
    weight_gradient_kernel[(blocks, parts, directions)](
        grad_z, proj, order, parts_W, parts_bias, *_sizes(plan), tiles, of_part, **_constants(plan)
    )
    return parts_W.sum(0), parts_bias.sum(0)
