"""The form for inference of the blocks of :mod:`mambaad.models.decoder`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from mambaad.inference.packed.convolution import pack_map
from mambaad.models import decoder as plain


class PatchExpand(nn.Module):
    """:class:`mambaad.models.decoder.PatchExpand`: its product in ``dtype``."""

    def __init__(self, trained: plain.PatchExpand, dtype: torch.dtype) -> None:
        super().__init__()
        self.expand = pack_map(trained.expand.weight, dtype)
        self.norm = trained.norm

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Map b x h x w x C_in to b x 2h x 2w x C_out."""
        x = self.expand(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).float()
        normalised: torch.Tensor = self.norm(plain.PatchExpand.rearrange(x))
        return normalised


class GridHead(nn.Module):
    """:class:`mambaad.models.decoder.GridHead`: its product in ``dtype``."""

    def __init__(self, trained: plain.GridHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = trained.norm
        self.linear = pack_map(trained.linear.weight, dtype)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c2"]:
        """Map b x h x w x width to b x h x w x channels."""
        mapped: torch.Tensor = self.linear(self.norm(x).permute(0, 3, 1, 2)).float()
        return mapped.permute(0, 2, 3, 1)
