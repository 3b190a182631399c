"""What the blocks of state-space duality share: projections, convolution, norm and gate."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.models.projection import cast_once, project

HEAD_SIZE = 64
"""The most channels of a head, as in Mamba-2."""


def count_heads(inner: int) -> int:
    """Count the heads: as few as divide the inner width into heads of at most 64 channels."""
    return next(n for n in range(-(-inner // HEAD_SIZE), inner + 1) if inner % n == 0)


class Duality(nn.Module, ABC):
    """The block of Mamba-2 (Dao and Gu 2024, figure 6) on maps b x h x w x C, without its core.

    Linear C -> z, x (D each), B, C (N each, shared by all heads) and dt; x, B and C through a
    depthwise 3 x 3 convolution and SiLU; the core, which mixes the cells (:meth:`mix`);
    LayerNorm; times SiLU(z); Linear D -> C.

    The rows that give B, C and dt are drawn uniformly in +-C^-1/2.

    Args:
        channels: C.
        states: N, the size of each channel's state.
        expand: the inner width D is expand x C.
        steps: time steps of each head and cell.
    """

    def __init__(self, channels: int, states: int, expand: int, steps: int) -> None:
        super().__init__()
        inner = expand * channels
        self.heads = count_heads(inner)
        self.states = states
        self.split_in = [inner, inner, 2 * states + steps * self.heads]
        self.in_proj = nn.Linear(channels, sum(self.split_in), bias=False)
        self.conv_x = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.conv_BC = nn.Conv2d(2 * states, 2 * states, 3, padding=1, groups=2 * states)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)
        nn.init.trunc_normal_(self.in_proj.weight[: 2 * inner], std=0.02)
        nn.init.uniform_(self.in_proj.weight[2 * inner :], -(channels**-0.5), channels**-0.5)
        nn.init.trunc_normal_(self.out_proj.weight, std=0.02)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Mix the cells of the map."""
        shape = x.shape
        given = cast_once(x)
        # Several products instead of one that is split: each stays contiguous for what follows.
        z_weight, x_weight, rest_weight = torch.split(self.in_proj.weight, self.split_in)
        x = F.silu(self.conv_x(project(given, x_weight).permute(0, 3, 1, 2)))
        rest = project(given, rest_weight)
        BC = F.silu(self.conv_BC(rest[..., : 2 * self.states].permute(0, 3, 1, 2)))
        B, C = BC.permute(0, 2, 3, 1).flatten(1, 2).chunk(2, dim=2)
        dt = rest[..., 2 * self.states :].flatten(1, 2)
        y = self.mix(x.permute(0, 2, 3, 1).flatten(1, 2), B, C, dt, shape)
        y = self.norm(y).unflatten(1, shape[1:3]) * F.silu(project(given, z_weight))
        return project(y, self.out_proj.weight)

    @abstractmethod
    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l steps"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """Mix the L = h x w cells, row by row; ``dt`` as projected; ``shape``: b x h x w x C."""
