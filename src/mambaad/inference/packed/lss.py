"""The forms for inference of the blocks of :mod:`mambaad.models.lss`."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from mambaad.inference.packed.convolution import pack_conv
from mambaad.inference.packed.table import TWINS
from mambaad.models import lss as plain
from mambaad.ops.instance_norm import instance_norm_silu_


class LSSModule(nn.Module):
    """:class:`mambaad.models.lss.LSSModule`: the merging convolution also adds the input."""

    def __init__(self, trained: plain.LSSModule, dtype: torch.dtype) -> None:
        super().__init__()
        blocks: Any = trained.hss_blocks
        branches: Any = trained.local_branches
        merge: Any = trained.merge
        self.hss_blocks = nn.Sequential(*(HSSBlock(block, dtype) for block in blocks))
        self.local_branches = nn.ModuleList(LocalBranch(branch, dtype) for branch in branches)
        if branches:
            self.merge = pack_conv(merge, dtype)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Add the merged branches to the map."""
        if not self.local_branches:
            scanned: torch.Tensor = self.hss_blocks(x)
            return scanned
        cells = x.permute(0, 3, 1, 2)
        branches = [self.hss_blocks(x).permute(0, 3, 1, 2)]
        branches += [branch(cells) for branch in self.local_branches]
        merged: torch.Tensor = self.merge(torch.cat(branches, dim=1), plus=cells)
        return merged.permute(0, 2, 3, 1)


class HSSBlock(nn.Module):
    """:class:`mambaad.models.lss.HSSBlock`: the mixer's last product also adds the input."""

    def __init__(self, trained: plain.HSSBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = trained.norm
        self.ss2d = TWINS[type(trained.ss2d)](trained.ss2d, dtype)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Add what the mixer makes of the normalised map to the map."""
        mixed: torch.Tensor = self.ss2d(self.norm(x), plus=x)
        return mixed


class LocalBranch(nn.Module):
    """:class:`mambaad.models.lss.LocalBranch`: InstanceNorm and SiLU in one pass, in float32."""

    def __init__(self, trained: plain.LocalBranch, dtype: torch.dtype) -> None:
        super().__init__()
        convs = (trained.before, trained.depthwise, trained.after)
        self.convs = nn.ModuleList(pack_conv(conv, dtype) for conv in convs)

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        """Convolve the surroundings of each cell."""
        for conv in self.convs:
            x = instance_norm_silu_(conv(x).float())
        return x
