"""The form for inference of :mod:`mambaad.models.mixers.ss2d`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from mambaad.inference.packed.convolution import pack_conv, pack_map
from mambaad.models.mixers import ss2d as plain
from mambaad.ops.order_tables import order_table
from mambaad.ops.selective_scan.dispatch import selective_scan


class SS2D(nn.Module):
    """:class:`mambaad.models.mixers.ss2d.SS2D`: products and convolution in ``dtype``.

    The scan and the norm are in float32. What depends on parameters alone is computed once.
    """

    def __init__(self, trained: plain.SS2D, dtype: torch.dtype) -> None:
        super().__init__()
        self.scan = trained.scan
        self.directions = trained.directions
        x_weight, z_weight = trained.in_proj.weight.chunk(2)
        self.to_x = pack_map(x_weight, dtype)
        self.to_z = pack_map(z_weight, dtype, "swish")
        self.conv = pack_conv(trained.conv, dtype, "swish")
        self.to_proj = pack_map(trained.scan_proj, dtype)
        self.parameters_of_scan = (
            trained.dt_weight.detach().float(),
            trained.dt_bias.detach().float(),
            -torch.exp(trained.A_log.detach().float()),
            trained.skip.detach().float(),
        )
        self.norm = trained.norm
        self.to_out = pack_map(trained.out_proj.weight, dtype)

    def forward(
        self,
        x: Float[torch.Tensor, "b h w c"],
        plus: Float[torch.Tensor, "b h w c"] | None = None,
    ) -> Float[torch.Tensor, "b h w c"]:
        """Mix the cells of the map along every direction; add ``plus``, in the same kernel."""
        cells = x.permute(0, 3, 1, 2).to(self.to_x.dtype)
        u = self.conv(self.to_x(cells))
        y = selective_scan(
            u.permute(0, 2, 3, 1).flatten(1, 2),
            self.to_proj(u).permute(0, 2, 3, 1).flatten(1, 2),
            *self.parameters_of_scan,
            order_table(self.scan, self.directions, x.shape[1], x.shape[2], x.device),
        )
        gated = self.norm(y).mul_(self.to_z(cells).permute(0, 2, 3, 1).flatten(1, 2))
        mixed = gated.unflatten(1, x.shape[1:3]).permute(0, 3, 1, 2)
        out: torch.Tensor = self.to_out(mixed, None if plus is None else plus.permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1).float()
