"""SSD, the state-space duality of Mamba-2: a scan computed by matrix products over chunks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional as F

from mambaad.models.mixers.duality import Duality
from mambaad.models.mixers.time_steps import draw_time_steps
from mambaad.ops.order_tables import order_table
from mambaad.ops.orders import ScanMethod

CHUNK = 64
"""Cells of a chunk, as in Mamba-2; chunks are chunked in turn, as many at a time."""

_LEAST_DT = 1e-30  # its logarithm is finite, and so is the gradient


class SSD(Duality):
    """The state-space duality of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060), both ways.

    Of each head, along the order of the scan method, with dt = softplus(dt_projected + bias) and
    A = -exp(A_log), a number:

        h_t = exp(dt_t A) h_(t-1) + dt_t B_t x_t^T      N x P, h before the first cell is 0
        y_t = h_t^T C_t

    and the same along the reversed order, with a dt and an A of its own; the result is the sum of
    both and of skip x_t.

    A, dt's bias and the skip are initialised as in Mamba-2.

    Args:
        channels: C.
        scan: the order in which the cells are visited.
        states: N, the size of each channel's state.
        expand: the inner width D is expand x C, in heads of P = 64 channels or fewer.
    """

    def __init__(
        self, channels: int, scan: ScanMethod = "hilbert", states: int = 16, expand: int = 2
    ) -> None:
        super().__init__(channels, states, expand, steps=2)
        self.scan: ScanMethod = scan
        self.dt_bias = nn.Parameter(torch.empty(2, self.heads))
        self.A_log = nn.Parameter(torch.empty(2, self.heads).uniform_(1, 16).log())
        draw_time_steps(self.dt_bias)

    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l steps"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """See :meth:`mambaad.models.mixers.duality.Duality.mix`; ``dt``: forwards, backwards."""
        order = order_table(self.scan, 1, shape[1], shape[2], x.device)[0]
        return both_ways(x, B, C, dt, self.dt_bias, self.A_log, self.skip, order)


def both_ways(
    x: Float[torch.Tensor, "b l d"],
    B: Float[torch.Tensor, "b l n"],
    C: Float[torch.Tensor, "b l n"],
    dt: Float[torch.Tensor, "b l steps"],
    dt_bias: Float[torch.Tensor, "2 heads"],
    A_log: Float[torch.Tensor, "2 heads"],
    skip: Float[torch.Tensor, " heads"],
    order: Int[torch.Tensor, " l"],
) -> Float[torch.Tensor, "b l d"]:
    """Compute the equations of :class:`SSD` with matrix products, in the dtype of ``x``."""
    batch, length, inner = x.shape
    heads, states = dt_bias.shape[1], B.shape[2]
    chunk = min(CHUNK, length)
    padding = -length % chunk  # with zeros, which change no state
    padded = length + padding
    with torch.autocast(x.device.type, enabled=False):
        wide = torch.promote_types(x.dtype, torch.float32)
        small = torch.cat([dt.to(wide), B.to(wide), C.to(wide)], dim=2)
        if padding:
            x, small = F.pad(x, (0, 0, 0, padding)), F.pad(small, (0, 0, 0, padding))
            rest = torch.arange(length, padded, dtype=order.dtype, device=order.device)
            order = torch.cat([order, rest])
        # Of cells, and of rows of P channels, which are put in the order of each head.
        step = torch.arange(padded, device=order.device)
        when = torch.empty_like(step).scatter_(0, order.long(), step)
        head = torch.arange(heads, device=order.device)
        there = (order * heads + head[:, None]).flatten()
        back = (when[:, None] + head * padded).flatten()

        x_t = _permuted(x.reshape(batch, padded * heads, inner // heads), there, back)
        small_t = _permuted(small, order, when).view(batch, padded // chunk, chunk, small.shape[2])
        dt_t, B_t, C_t = torch.split(small_t, [2 * heads, states, states], dim=3)
        # Contiguous, or torch.compile would mistake the layout of softplus's gradient.
        dt_t = dt_t.view(*dt_t.shape[:3], 2, heads).permute(3, 0, 4, 1, 2).contiguous()
        dt_t = F.softplus(dt_t + dt_bias[:, None, :, None, None])
        log_decay = -A_log.exp()[:, None, :, None, None] * dt_t
        x_chunks = x_t.view(*dt_t.shape[1:], inner // heads)
        y_t = _chunked(x_chunks, B_t, C_t, dt_t, log_decay, skip)
        y = _permuted(y_t.view_as(x_t), back, there)
        return y.view(batch, padded, inner)[:, :length]


def _chunked(
    x: Float[torch.Tensor, "b heads c q p"],
    B: Float[torch.Tensor, "b c q n"],
    C: Float[torch.Tensor, "b c q n"],
    dt: Float[torch.Tensor, "2 b heads c q"],
    log_decay: Float[torch.Tensor, "2 b heads c q"],
    skip: Float[torch.Tensor, " heads"],
) -> Float[torch.Tensor, "l q p"]:
    """Scan c chunks of q cells both ways (Dao and Gu 2024, section 6); l is b x heads x c.

    Within a chunk y = W x, where W_ts is C_t . B_s dt_s times the decay between both: one product
    for the two directions, below and above the diagonal. What a chunk leaves behind reaches the
    others by :func:`_carried`. All but the products with x are in the dtype of ``dt``.
    """
    since_start = log_decay.cumsum(-1)
    total = since_start[..., -1]
    # Along each direction the logarithms of the decay from the chunk's first cell to a cell, and
    # from a cell to the chunk's last.
    to_end = total[1, ..., None] - since_start[1] + log_decay[1]
    enters = torch.stack([since_start[0], to_end])
    leaves = torch.stack([total[0, ..., None] - since_start[0], since_start[1] - log_decay[1]])

    log_dt = dt.clamp(min=_LEAST_DT).log()
    forwards = enters[0][..., None] + (log_dt[0] - enters[0])[..., None, :]
    backwards = (log_dt[1] + leaves[1])[..., None, :] - leaves[1][..., None]
    is_past = torch.ones(forwards.shape[3:], dtype=torch.bool, device=x.device).tril()
    W = torch.where(is_past, forwards, backwards).exp() * (C @ B.transpose(2, 3))[:, None]
    # On the diagonal of W a cell is its own past; its own future, which it is too, is added here.
    itself = skip[:, None, None] + dt[1] * (C * B).sum(-1)[:, None]
    cells = x.flatten(0, 2)
    y = (x * itself[..., None].to(x.dtype)).flatten(0, 2)
    y = torch.baddbmm(y, W.flatten(0, 2).to(x.dtype), cells)
    for k, flip in enumerate(((), (2,))):
        adds = ((leaves[k].exp() * dt[k])[..., None] * B[:, None]).flatten(0, 2)
        left = adds.transpose(1, 2) @ cells.to(adds.dtype)
        per_chunk = left.view(*total.shape[1:], left.shape[1] * left.shape[2])
        entered = _carried(per_chunk.flip(flip), total[k].flip(flip)).flip(flip).reshape_as(left)
        reads = (enters[k].exp()[..., None] * C[:, None]).flatten(0, 2)
        y = torch.baddbmm(y, reads.to(x.dtype), entered.to(x.dtype))
    return y


def _carried(
    left: Float[torch.Tensor, "b heads c n"], log_decay: Float[torch.Tensor, "b heads c"]
) -> Float[torch.Tensor, "b heads c n"]:
    """Return the state with which each chunk is entered, from what each adds and its decay.

    More chunks than 64 are taken in groups of 64, whose states are carried in the same way.
    """
    count = left.shape[2]
    if count <= CHUNK:
        return _from_zero(left, log_decay)[:, :, :-1]
    padding = -count % CHUNK
    left, log_decay = F.pad(left, (0, 0, 0, padding)), F.pad(log_decay, (0, padding))
    shape = (*left.shape[:2], -(-count // CHUNK), CHUNK)
    log_decay = log_decay.view(shape)
    within = _from_zero(left.view(*shape, left.shape[3]), log_decay)
    between = _carried(within[:, :, :, -1], log_decay.sum(-1))
    decay = (log_decay.cumsum(-1) - log_decay).exp()
    entered = within[:, :, :, :-1] + decay[..., None] * between[:, :, :, None]
    return entered.flatten(2, 3)[:, :, :count]


def _from_zero(
    left: Float[torch.Tensor, "... c n"], log_decay: Float[torch.Tensor, "... c"]
) -> Float[torch.Tensor, "... c+1 n"]:
    """Return the state before each of c chunks and after the last, 0 before the first.

    Before chunk i: the sum over j < i of what j adds, decayed by the chunks between them.
    """
    after = log_decay.cumsum(-1)
    before = F.pad(after, (1, 0))
    between = before[..., :, None] - after[..., None, :]
    is_past = torch.ones_like(between, dtype=torch.bool).tril(-1)
    decays = between.masked_fill(~is_past, -torch.inf).exp()
    return decays @ left


def _permuted(
    x: Float[torch.Tensor, "b l c"], there: Int[torch.Tensor, " l"], back: Int[torch.Tensor, " l"]
) -> Float[torch.Tensor, "b l c"]:
    """Put rows in the order ``there``, whose inverse is ``back``."""
    permuted: torch.Tensor = _Permuted.apply(x, there, back)
    return permuted


class _Permuted(torch.autograd.Function):
    """With the way back as its gradient; the gradient of an index adds up, which takes longer."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, there: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(there, back)
        return x.index_select(1, there)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _permuted(grad, back, there), None, None
