"""The scan's Triton kernels, launched by a plan."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import triton

from mambaad.ops.selective_scan.plan import Plan
from mambaad.ops.selective_scan.triton.backward import backward_kernel, costate_kernel
from mambaad.ops.selective_scan.triton.forward import forward_kernel
from mambaad.ops.selective_scan.triton.products import expand

Tensors = tuple[torch.Tensor, ...]

STAGES = 3
"""Iterations of the forward, of four steps each, whose values are on their way from memory."""


def tile_of(states: int, channels: int) -> dict[str, int]:
    """The tile of a program: 32 lanes of states and channels, and what each lane has of them."""
    padded = triton.next_power_of_2(states)
    together = min(padded, 4)  # side by side in memory, read as one vector
    lanes = padded // together
    beside = min(channels, max(32 // lanes, 1))
    return {"D1": channels // beside, "D2": beside, "N2": lanes, "N1": together}


class TritonScans:
    """The scan's Triton kernels on the images of a plan.

    Args:
        inputs: u, proj, dt_weight, dt_bias, A, skip and order, contiguous, float32 and int32.
        plan: the division of the work.
    """

    def __init__(self, inputs: Tensors, plan: Plan) -> None:
        self.inputs, self.plan = inputs, plan
        self.sizes = (plan.length, plan.channels, plan.directions, plan.first_pair, plan.steps)
        self.constants: dict[str, Any] = {
            "R": plan.rank,
            "N": plan.states,
            **tile_of(plan.states, plan.block),
            "WIDE": plan.is_wide,
            "EVEN": plan.length % 4 == 0,
            "STAGES": STAGES,
            "num_warps": 1,
        }

    @functools.cached_property
    def dt(self) -> torch.Tensor:
        """The time steps, in each direction's order: pairs x L x D."""
        return expand(self.inputs, self.plan)

    def states(self, end: torch.Tensor, dt_sum: torch.Tensor) -> None:
        """Fill ``end`` with each segment's last state from a zero state, and ``dt_sum``."""
        u, proj, _, _, A, skip, order = self.inputs
        forward_kernel[self.plan.grid](
            u, proj, self.dt, A, skip, order, end, u, end, end, dt_sum, *self.sizes,
            **self.constants, T=self.plan.tile, KEEP=False, ATOMIC=self.plan.is_atomic,
            STATES_ONLY=True,
        )  # fmt: skip

    def forward(self, start: torch.Tensor, y: torch.Tensor, carry: torch.Tensor) -> None:
        """Add to ``y``, from each segment's first state; fill ``carry`` if it has tiles.

        In a fixed order of sums ``y`` has the values of each pair of image and direction.
        """
        u, proj, _, _, A, skip, order = self.inputs
        forward_kernel[self.plan.grid](
            u, proj, self.dt, A, skip, order, start, y, carry, start, start, *self.sizes,
            **self.constants, T=self.plan.tile, KEEP=carry.shape[2] > 0,
            ATOMIC=self.plan.is_atomic, STATES_ONLY=False,
        )  # fmt: skip

    def costates(self, grad_y: torch.Tensor, before: torch.Tensor, dt_sum: torch.Tensor) -> None:
        """Fill ``before`` with what flows out before each segment, from zero, and ``dt_sum``."""
        _, proj, _, _, A, _, order = self.inputs
        costate_kernel[self.plan.grid](
            proj, self.dt, A, order, grad_y, before, dt_sum, *self.sizes, **self.constants
        )

    def backward(
        self, carry: torch.Tensor, grad_y: torch.Tensor, after: torch.Tensor, grads: Tensors
    ) -> torch.Tensor:
        """Add to the gradients of u and proj, fill those of A and skip, and return that of z.

        ``grads``: of u and proj, in a fixed order of sums for each pair (and block of channels); of
        A and skip for each segment. The gradient of z takes the place of dt.
        """
        u, proj, _, _, A, skip, order = self.inputs
        dt, (blocks, segments, pairs) = self.dt, self.plan.grid
        tile = math.prod(self.constants[name] for name in ("D1", "D2", "N2", "N1"))
        room = dt.new_empty(pairs * segments * blocks * (self.plan.tile // 2) * tile)
        backward_kernel[self.plan.grid](
            u, proj, dt, A, skip, order, carry, grad_y, after, room, *grads, *self.sizes,
            **self.constants, T=self.plan.tile, ATOMIC=self.plan.is_atomic,
        )  # fmt: skip
        del self.dt
        return dt
