"""VSSD, the non-causal state-space duality: every cell reads one state, the mean of all cells."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.models.mixers.duality import Duality


class VSSD(Duality):
    """The non-causal state-space duality (VSSD, Shi et al. 2024, arXiv 2407.18559).

    Of each head, with the cells' time steps dt_t and the bias b:

        m_t = softplus(dt_t + b)                    the weight of cell t
        H = sum_t m_t B_t x_t^T / sum_t m_t         the state, N x P, which all cells share
        y_t = H^T C_t + skip x_t

    There is no scan and no order of the cells. VSSD weighs a cell by m_t exp(A_log) and does not
    divide by the sum; here the sum is divided by, so that a larger map has no larger state, and
    exp(A_log), a factor of all cells of a head, cancels.

    Args:
        channels: C.
        states: N, the size of each channel's state.
        expand: the inner width D is expand x C, in heads of P = 64 channels or fewer.
    """

    def __init__(self, channels: int, states: int = 16, expand: int = 2) -> None:
        super().__init__(channels, states, expand, steps=1)
        self.dt_bias = nn.Parameter(torch.zeros(self.heads))

    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l heads"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """See :meth:`mambaad.models.mixers.duality.Duality.mix`."""
        return non_causal(x, B, C, dt, self.dt_bias, self.skip)


def non_causal(
    x: Float[torch.Tensor, "b l d"],
    B: Float[torch.Tensor, "b l n"],
    C: Float[torch.Tensor, "b l n"],
    dt: Float[torch.Tensor, "b l heads"],
    dt_bias: Float[torch.Tensor, " heads"],
    skip: Float[torch.Tensor, " heads"],
) -> Float[torch.Tensor, "b l d"]:
    """Compute the equations of :class:`VSSD` with two matrix products, in the dtype of ``x``.

    Weights and state are computed in float32 or wider: a map of 256 x 256 cells has weights below
    float16's normal numbers.
    """
    with torch.autocast(x.device.type, enabled=False):
        m = F.softplus(dt.to(torch.promote_types(dt.dtype, torch.float32)) + dt_bias)
        m = m / m.sum(1, keepdim=True)
        x_heads = x.view(*m.shape, x.shape[2] // m.shape[2])
        weighted = (x_heads * m[..., None]).flatten(2)
        state = B.to(weighted.dtype).transpose(1, 2) @ weighted
        skipped = (x_heads * skip[:, None].to(x.dtype)).flatten(2)
        return torch.baddbmm(skipped, C, state.to(C.dtype))
