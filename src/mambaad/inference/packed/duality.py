"""The form for inference of :mod:`mambaad.models.mixers.duality`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import nn

from mambaad.inference.packed.convolution import pack_conv, pack_map
from mambaad.models.mixers import duality as plain


class Duality(nn.Module, ABC):
    """:class:`mambaad.models.mixers.duality.Duality`: projections and convolution in ``dtype``.

    What mixes the cells (:meth:`mix`) and the norm are in float32.
    """

    def __init__(self, trained: plain.Duality, dtype: torch.dtype) -> None:
        super().__init__()
        self.states = trained.states
        weights = torch.split(trained.in_proj.weight, trained.split_in)
        z_weight, x_weight, rest_weight = weights
        self.to_z = pack_map(z_weight, dtype, "swish")
        self.to_x = pack_map(x_weight, dtype)
        self.to_rest = pack_map(rest_weight, dtype)
        self.conv_x = pack_conv(trained.conv_x, dtype, "swish")
        self.conv_BC = pack_conv(trained.conv_BC, dtype, "swish")
        self.norm = trained.norm
        self.to_out = pack_map(trained.out_proj.weight, dtype)

    def forward(
        self,
        x: Float[torch.Tensor, "b h w c"],
        plus: Float[torch.Tensor, "b h w c"] | None = None,
    ) -> Float[torch.Tensor, "b h w c"]:
        """Mix the cells of the map; add ``plus``, in the same kernel."""
        shape = x.shape
        cells = x.permute(0, 3, 1, 2).to(self.to_z.dtype)
        x = self.conv_x(self.to_x(cells)).permute(0, 2, 3, 1).flatten(1, 2).float()
        rest = self.to_rest(cells)
        BC = self.conv_BC(rest[:, : 2 * self.states]).permute(0, 2, 3, 1).flatten(1, 2).float()
        dt = rest[:, 2 * self.states :].permute(0, 2, 3, 1).flatten(1, 2).float()
        B, C = BC.chunk(2, dim=2)
        y = self.mix(x, B, C, dt, shape)
        gated = self.norm(y).mul_(self.to_z(cells).permute(0, 2, 3, 1).flatten(1, 2))
        mixed = gated.unflatten(1, shape[1:3]).permute(0, 3, 1, 2)
        out: torch.Tensor = self.to_out(mixed, None if plus is None else plus.permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1).float()

    @abstractmethod
    def mix(
        self,
        x: Float[torch.Tensor, "b l d"],
        B: Float[torch.Tensor, "b l n"],
        C: Float[torch.Tensor, "b l n"],
        dt: Float[torch.Tensor, "b l steps"],
        shape: torch.Size,
    ) -> Float[torch.Tensor, "b l d"]:
        """See :meth:`mambaad.models.mixers.duality.Duality.mix`."""
