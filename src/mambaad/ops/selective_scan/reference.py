"""The selective scan over several directions, one step at a time: written to be read."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch.nn.functional import softplus


def selective_scan_reference(
    u: Float[torch.Tensor, "b l d"],
    proj: Float[torch.Tensor, "b l p"],
    dt_weight: Float[torch.Tensor, "k d r"],
    dt_bias: Float[torch.Tensor, "k d"],
    A: Float[torch.Tensor, "k d n"],
    skip: Float[torch.Tensor, "k d"],
    order: Int[torch.Tensor, "k l"],
) -> Float[torch.Tensor, "b l d"]:
    """The selective scan of :func:`mambaad.ops.selective_scan.selective_scan`, step by step.

    Same arguments, same result; in float32 or float64, differentiable; runs wherever PyTorch
    does, slowly.
    """
    y = torch.zeros_like(u)
    rank, states = dt_weight.shape[2], A.shape[2]
    rows = proj.reshape(*proj.shape[:2], len(order), rank + 2 * states)
    for k, positions in enumerate(order.tolist()):
        h = u.new_zeros(u.shape[0], u.shape[2], states)
        visited = []
        for position in positions:
            u_t = u[:, position]
            dt_low, B, C = torch.tensor_split(rows[:, position, k], (rank, rank + states), dim=-1)
            dt = softplus(dt_low @ dt_weight[k].T + dt_bias[k])
            h = torch.exp(dt[..., None] * A[k]) * h + (dt * u_t)[..., None] * B[:, None]
            visited.append((h * C[:, None]).sum(-1) + skip[k] * u_t)
        if visited:
            y = y.index_add(1, order[k].long(), torch.stack(visited, dim=1))
    return y
