"""SS2D, the 2-D selective scan of a map in several directions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.models.mixers.time_steps import draw_time_steps
from mambaad.models.projection import cast_once, project
from mambaad.ops.order_tables import order_table
from mambaad.ops.orders import ScanMethod
from mambaad.ops.selective_scan.dispatch import selective_scan


class SS2D(nn.Module):
    """The 2-D selective scan (MambaAD, figure 2; S6 of Gu and Dao 2023), on maps b x h x w x C.

    Linear C -> 2 D, split into u and the gate z; u through a depthwise 3 x 3 convolution and SiLU,
    then scanned along K sequences, whose results are summed; LayerNorm; times SiLU(z); Linear
    D -> C.

    A, dt and the skip are initialised as in Mamba (Gu and Dao 2023).

    Args:
        channels: C. The rank R of the time step is ceil(C / 16).
        scan: the order in which the cells are visited.
        directions: K: 1, 2, 4 or 8.
        states: N, the size of each channel's state.
        expand: the inner width D is expand x C.
    """

    def __init__(
        self,
        channels: int,
        scan: ScanMethod = "hilbert",
        directions: int = 8,
        states: int = 16,
        expand: int = 2,
    ) -> None:
        super().__init__()
        self.scan: ScanMethod = scan
        self.directions = directions
        inner, rank = expand * channels, math.ceil(channels / 16)
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.scan_proj = nn.Parameter(torch.empty(directions * (rank + 2 * states), inner))
        self.dt_weight = nn.Parameter(torch.empty(directions, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(directions, inner))
        self.A_log = nn.Parameter(torch.empty(directions, inner, states))
        self.skip = nn.Parameter(torch.ones(directions, inner))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, channels, bias=False)
        self._initialise(rank, states)

    def _initialise(self, rank: int, states: int) -> None:
        nn.init.trunc_normal_(self.in_proj.weight, std=0.02)
        nn.init.trunc_normal_(self.out_proj.weight, std=0.02)
        bound = self.scan_proj.shape[1] ** -0.5
        nn.init.uniform_(self.scan_proj, -bound, bound)
        nn.init.uniform_(self.dt_weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            self.A_log.copy_(torch.arange(1, states + 1).log())
        draw_time_steps(self.dt_bias)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Mix the cells of the map along every direction."""
        height, width = x.shape[1:3]
        x = cast_once(x)
        # Two products instead of one that is split: u stays contiguous for what follows.
        u_weight, z_weight = self.in_proj.weight.chunk(2)
        u = self.conv(project(x, u_weight).permute(0, 3, 1, 2))
        u = F.silu(u).permute(0, 2, 3, 1)
        y = selective_scan(
            u.flatten(1, 2),
            project(u, self.scan_proj).flatten(1, 2),
            self.dt_weight,
            self.dt_bias,
            -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32))),
            self.skip,
            order_table(self.scan, self.directions, height, width, u.device),
        )
        y = self.norm(y).unflatten(1, (height, width)) * F.silu(project(x, z_weight))
        return project(y, self.out_proj.weight)
