"""The selective scan in vectorised PyTorch: runs where a device has no kernel."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch.nn.functional import softplus

_CHUNK = 64


def selective_scan_vectorised(
    u: Float[torch.Tensor, "b l d"],
    proj: Float[torch.Tensor, "b l p"],
    dt_weight: Float[torch.Tensor, "k d r"],
    dt_bias: Float[torch.Tensor, "k d"],
    A: Float[torch.Tensor, "k d n"],
    skip: Float[torch.Tensor, "k d"],
    order: Int[torch.Tensor, "k l"],
) -> Float[torch.Tensor, "b l d"]:
    """The selective scan of :func:`mambaad.ops.selective_scan.selective_scan` on any device.

    Same arguments, same result; in float32 or float64, differentiable. It goes through the
    sequence a chunk at a time, and through a chunk in log2(chunk) doubling steps over all
    directions, channels and states at once (Blelloch 1990: h_t = a_t h_(t-1) + b_t is an
    associative composition of the pairs (a_t, b_t)). Without gradients it holds one chunk of
    states; with gradients PyTorch keeps all of them.
    """
    directions, _, rank = dt_weight.shape
    states = A.shape[2]
    rows = proj.reshape(*proj.shape[:2], directions, rank + 2 * states)
    y = u * skip.sum(0)
    h = u.new_zeros(u.shape[0], directions, 1, u.shape[2], states)
    each = torch.arange(directions, device=u.device)[:, None]
    for start in range(0, order.shape[1], _CHUNK):
        positions = order[:, start : start + _CHUNK].long()  # directions x steps
        u_t = u[:, positions]
        dt_low, B, C = torch.tensor_split(rows[:, positions, each], (rank, rank + states), dim=-1)
        dt = softplus(torch.einsum("bktr,kdr->bktd", dt_low, dt_weight) + dt_bias[:, None])
        decay = torch.exp(dt[..., None] * A[:, None])
        added = (dt * u_t)[..., None] * B[..., None, :]
        step = 1
        while step < positions.shape[1]:
            added = torch.cat(
                [added[:, :, :step], added[:, :, step:] + decay[:, :, step:] * added[:, :, :-step]],
                dim=2,
            )
            decay = torch.cat([decay[:, :, :step], decay[:, :, step:] * decay[:, :, :-step]], dim=2)
            step *= 2
        all_h = decay * h + added
        h = all_h[:, :, -1:]
        y_t = torch.einsum("bktdn,bktn->bktd", all_h, C)
        y = y.index_add(1, positions.flatten(), y_t.flatten(1, 2))
    return y
