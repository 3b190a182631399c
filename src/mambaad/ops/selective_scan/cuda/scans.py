"""The scan's CUDA kernels, launched by a plan."""

from __future__ import annotations

import ctypes

import torch

from mambaad.ops.selective_scan.cuda import program
from mambaad.ops.selective_scan.plan import Plan

Tensors = tuple[torch.Tensor, ...]


class _Inputs(ctypes.Structure):
    """``Inputs`` of tile.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("u", "proj", "W", "bias", "A", "skip")),
        ("order", ctypes.c_void_p),
    )


class _Sizes(ctypes.Structure):
    """``Sizes`` of tile.cuh."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("L", "D", "K", "R", "N", "first_pair", "steps")),
        ("is_aligned", ctypes.c_int),
    )


class CudaScans:
    """The scan's CUDA kernels on the images of a plan; as :class:`..triton.scans.TritonScans`."""

    def __init__(self, inputs: Tensors, plan: Plan) -> None:
        self.inputs, self.plan = inputs, plan

    def states(self, end: torch.Tensor, dt_sum: torch.Tensor) -> None:
        """Fill ``end`` with each segment's last state from a zero state, and ``dt_sum``."""
        self._launch("states_only", end, dt_sum)

    def forward(self, start: torch.Tensor, y: torch.Tensor, carry: torch.Tensor) -> None:
        """Add to ``y``, from each segment's first state; fill ``carry`` if it has tiles."""
        if carry.shape[2] > 0:
            self._launch("forward_kept", start, y, carry)
        else:
            self._launch("forward", start, y)

    def costates(self, grad_y: torch.Tensor, before: torch.Tensor, dt_sum: torch.Tensor) -> None:
        """Fill ``before`` with what flows out before each segment, from zero, and ``dt_sum``."""
        self._launch("costates", grad_y, before, dt_sum)

    def backward(
        self, carry: torch.Tensor, grad_y: torch.Tensor, after: torch.Tensor, grads: Tensors
    ) -> torch.Tensor:
        """Add to the gradients of u and proj, fill those of A and skip, and return that of z."""
        plan, (of_u, of_proj, *others) = self.plan, grads
        grad_z = grad_y.new_empty(plan.step_shape)
        self._launch("backward", carry, grad_y, after, of_u, of_proj, grad_z, *others)
        return grad_z

    def _launch(self, kernel: str, *arguments: torch.Tensor) -> None:
        """Launch a kernel of the inputs, further tensors and the sizes."""
        plan = self.plan
        addresses = [t.data_ptr() for t in (*self.inputs, *arguments)]
        widths = (plan.channels, plan.rank, plan.states)
        is_aligned = not any(a % 16 for a in addresses) and not any(w % 4 for w in widths)
        sizes = (plan.length, plan.channels, plan.directions, plan.rank, plan.states)
        program.launch(
            kernel,
            self.inputs[0].device,
            program.ranks_for(plan.rank),
            plan.grid,
            _Inputs(*addresses[: len(self.inputs)]),
            *arguments,
            _Sizes(*sizes, plan.first_pair, plan.steps, is_aligned),
        )
