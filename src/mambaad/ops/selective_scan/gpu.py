"""The scan and its gradients on a GPU, as functions of tensors.

Where images, directions and channels do not fill the device, the sequence is cut into segments: a
first pass finds the state at the end of each from a zero state, and from these follow the states at
their beginnings. The backward stores the gradient of z, from which dt = softplus(z); two products
give those of low, W and the bias.
"""

from __future__ import annotations

import torch

from mambaad.ops.selective_scan.cuda.scans import CudaScans
from mambaad.ops.selective_scan.plan import TILING, Kernels, Plan, Tiling, carry_shape, plans
from mambaad.ops.selective_scan.triton.products import fill_low_gradient, weight_gradients
from mambaad.ops.selective_scan.triton.scans import TritonScans

Tensors = tuple[torch.Tensor, ...]

_SCANS: dict[Kernels, type[CudaScans] | type[TritonScans]] = {
    "cuda": CudaScans,
    "triton": TritonScans,
}

__all__ = ["backward", "carry_shape", "forward"]


def forward(inputs: Tensors, carry: torch.Tensor, tiling: Tiling = TILING) -> torch.Tensor:
    """The scan of u, proj, dt_weight, dt_bias, A, skip and order.

    Sums over directions are atomic, and vary by rounding from run to run, unless
    ``torch.use_deterministic_algorithms`` asks for a fixed order: that takes more memory and time.

    Args:
        inputs: u and proj float32, bfloat16 or float16; order int32; the others float32.
        carry: float32, filled; of :func:`carry_shape`, or without tiles to keep no states.
        tiling: the division of the work.

    Returns:
        y in float32; of an ``order`` that is no permutation, any values.
    """
    u, _, _, _, A, *_ = inputs = _prepared(inputs)
    y = torch.zeros_like(u)
    if not u.numel() or not len(A):
        return y
    # Triton launches on the current GPU, and nothing here is for autocast.
    with torch.cuda.device_of(u), torch.autocast(u.device.type, enabled=False):
        for plan in plans(inputs, tiling):
            scans = _SCANS[plan.kernels](inputs, plan)
            start = u.new_zeros(plan.state_shape)
            if plan.grid[1] > 1:
                end, dt_sum = torch.empty_like(start), u.new_empty(plan.state_shape[:3])
                scans.states(end, dt_sum)
                start = _chain(end, dt_sum, A)
            out = y if plan.is_atomic else u.new_empty(plan.step_shape)
            scans.forward(start, out, carry)
            if out is not y:
                y[plan.images] = plan.by_image(out).sum(1)
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
    dtypes = [t.dtype for t in inputs]
    u, _, _, _, A, *_ = inputs = _prepared(inputs)
    expected = carry_shape(u, A, tiling)
    if carry.shape != expected:
        raise ValueError(
            f"carry has shape {tuple(carry.shape)}, expected {expected}: give forward one to fill"
        )
    grads = tuple(torch.zeros_like(tensor) for tensor in inputs[:-1])
    if u.numel() and len(A):
        carry, grad_y = carry.contiguous(), grad_y.contiguous()
        with torch.cuda.device_of(u), torch.autocast(u.device.type, enabled=False):
            for plan in plans(inputs, tiling, backward=True):
                _add_gradients(grads, inputs, carry, grad_y, plan)
    return tuple(g.to(dtype) for g, dtype in zip(grads, dtypes, strict=False))


def _prepared(inputs: Tensors) -> Tensors:
    """The inputs as the kernels read them; maps in half precision as float32.

    Two bytes a lane cannot be copied ahead (cp.async takes four or more): on an H100 the kernels
    took nearly twice as long with bfloat16 maps, against which a copy is nothing.
    """
    *maps, order = inputs
    return (*(t.contiguous().float() for t in maps), order.contiguous())


def _add_gradients(
    grads: Tensors, inputs: Tensors, carry: torch.Tensor, grad_y: torch.Tensor, plan: Plan
) -> None:
    """Add what the plan's images give to the gradients."""
    u, _, _, _, A, *_ = inputs
    grad_u, grad_proj, grad_W, grad_bias, grad_A, grad_skip = grads
    scans = _SCANS[plan.kernels](inputs, plan)
    blocks, segments, pairs = plan.grid
    after = u.new_zeros(plan.state_shape)
    if segments > 1:
        before, dt_sum = torch.empty_like(after), u.new_empty(plan.state_shape[:3])
        scans.costates(grad_y, before, dt_sum)
        after = _chain(before.flip(1), dt_sum.flip(1), A).flip(1)

    parts_u, parts_proj = grad_u, grad_proj
    if not plan.is_atomic:
        parts_u = u.new_empty(plan.step_shape)
        parts_proj = u.new_empty((blocks, pairs, plan.length, 2 * plan.states))
    parts_A, parts_skip = torch.empty_like(after), u.new_empty(plan.state_shape[:3])
    grad_z = scans.backward(carry, grad_y, after, (parts_u, parts_proj, parts_A, parts_skip))
    grad_A += plan.by_image(parts_A).sum((0, 2))
    grad_skip += plan.by_image(parts_skip).sum((0, 2))
    if not plan.is_atomic:
        grad_u[plan.images] = plan.by_image(parts_u).sum(1)
        row = plan.rank + 2 * plan.states
        rows = grad_proj[plan.images].unflatten(2, (plan.directions, row))
        rows[..., plan.rank :] = plan.by_image(parts_proj.sum(0)).transpose(1, 2)

    fill_low_gradient(grad_z, inputs, grad_proj, plan)
    of_W, of_bias = weight_gradients(grad_z, inputs, plan)
    grad_W += of_W
    grad_bias += of_bias


def _chain(out: torch.Tensor, dt_sum: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """What comes into each segment: what came out of those before it, decayed by those between.

    Args:
        out: what comes out of each segment that starts from zero, pairs x segments x D x N, first
            to last in the direction of the scan.
        dt_sum: the sum of each segment's dt, from which its whole decay follows.
        A: the state matrix.
    """
    decay = torch.exp(_by_direction(dt_sum, A)[..., None] * A[:, None]).flatten(0, 1)
    into = [torch.zeros_like(out[:, 0])]
    for segment in range(1, out.shape[1]):
        before = segment - 1
        into.append(torch.addcmul(out[:, before], decay[:, before], into[before]))
    return torch.stack(into, dim=1)


def _by_direction(values: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """Values of pairs, as values of images and directions."""
    unflattened: torch.Tensor = values.unflatten(0, (-1, len(A)))
    return unflattened
