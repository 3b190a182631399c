"""The scan as the released model arranges it without CUDA, for comparison.

The map is copied once for each direction, the decay and the input of every step are computed
beforehand as tensors over all positions and states, and a loop runs over the positions.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

from mambaad.ops.selective_scan.dispatch import selective_scan


def released_scan(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
) -> torch.Tensor:
    """Scan as released without CUDA; same arguments as :func:`mambaad.ops.selective_scan`."""
    (batch, length, channels), (directions, _, rank) = u.shape, dt_weight.shape
    states = A.shape[2]
    rows = proj.unflatten(2, (directions, rank + 2 * states))
    visited = torch.stack([u[:, positions] for positions in order.long()], 1)  # b k l d
    seen = torch.stack([rows[:, positions, k] for k, positions in enumerate(order.long())], 1)
    low, B, C = seen.split((rank, states, states), -1)
    dt = softplus(torch.einsum("bklr,kdr->bkdl", low, dt_weight) + dt_bias[..., None])
    xs = visited.transpose(2, 3)  # b k d l
    decay = torch.exp(torch.einsum("bkdl,kdn->bkdln", dt, A))
    entering = torch.einsum("bkdl,bkln,bkdl->bkdln", dt, B, xs)
    h = u.new_zeros(batch, directions, channels, states)
    steps = []
    for t in range(length):
        h = decay[:, :, :, t] * h + entering[:, :, :, t]
        steps.append(torch.einsum("bkdn,bkn->bkd", h, C[:, :, t]))
    y = torch.stack(steps, -1) + xs * skip[..., None]
    merged = torch.zeros_like(u)
    for k, positions in enumerate(order.long()):
        merged.index_add_(1, positions, y[:, k].transpose(1, 2))
    return merged


def permuted_copies(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
) -> torch.Tensor:
    """Scan as released, with this project's kernel for mamba-ssm's: a permuted copy a direction."""
    directions, length = order.shape
    straight = torch.arange(length, dtype=torch.int32, device=u.device)[None]
    rows = proj.unflatten(2, (directions, -1))
    merged = torch.zeros_like(u, dtype=torch.float32)
    for k, positions in enumerate(order.long()):
        own = (t[k : k + 1] for t in (dt_weight, dt_bias, A, skip))
        y = selective_scan(u[:, positions], rows[:, positions, k].contiguous(), *own, straight)
        merged = merged.index_add(1, positions, y)
    return merged


def mamba_ssm_scan(
    u: torch.Tensor,
    proj: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    skip: torch.Tensor,
    order: torch.Tensor,
) -> torch.Tensor:
    """Scan as released on GPUs: K permuted copies, and one CUDA scan of package mamba-ssm.

    Raises:
        ImportError: mamba-ssm is not installed.
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    (directions, channels, rank), states = dt_weight.shape, A.shape[2]
    rows = proj.unflatten(2, (directions, rank + 2 * states))
    xs = torch.stack([u[:, positions] for positions in order.long()], 1).transpose(2, 3)
    seen = torch.stack([rows[:, positions, k] for k, positions in enumerate(order.long())], 1)
    low, B, C = seen.split((rank, states, states), -1)
    dt = torch.einsum("bklr,kdr->bkdl", low, dt_weight)
    y = selective_scan_fn(
        xs.flatten(1, 2).float().contiguous(),
        dt.flatten(1, 2).float().contiguous(),
        A.flatten(0, 1),
        B.transpose(2, 3).float().contiguous(),
        C.transpose(2, 3).float().contiguous(),
        skip.flatten(),
        delta_bias=dt_bias.flatten(),
        delta_softplus=True,
    ).unflatten(1, (directions, channels))
    merged = torch.zeros_like(u, dtype=torch.float32)
    for k, positions in enumerate(order.long()):
        merged.index_add_(1, positions, y[:, k].transpose(1, 2))
    return merged
