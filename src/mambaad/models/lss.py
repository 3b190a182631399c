"""The Locality-Enhanced State Space module: scans of the whole map beside local convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.models.mixers.table import MIXERS, Mixer
from mambaad.models.parallel import DropPath
from mambaad.models.projection import cast_once
from mambaad.ops.instance_norm import instance_norm
from mambaad.ops.orders import ScanMethod


class LSSModule(nn.Module):
    """in + Conv1x1([HSS blocks in cascade(in), local5(in), local7(in)]), on maps b x h x w x C.

    (MambaAD, section 3.3.)

    Args:
        channels: C.
        blocks: how many HSS blocks follow each other.
        drop_path: the probability of skipping a block for an image while training.
        scan, directions, states, expand: see :class:`mambaad.models.mixers.ss2d.SS2D`.
        kernels: sizes of the local branches' depthwise convolutions, odd. If empty, the module is
            its HSS blocks alone (the paper's basic Mamba).
        mixer: the state-space block, see :data:`mambaad.models.mixers.table.MIXERS`.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        drop_path: float = 0.0,
        scan: ScanMethod = "hilbert",
        directions: int = 8,
        states: int = 16,
        expand: int = 2,
        kernels: Sequence[int] = (5, 7),
        mixer: Mixer = "s6",
    ) -> None:
        super().__init__()
        self.hss_blocks = nn.Sequential(
            *(
                HSSBlock(channels, drop_path, scan, directions, states, expand, mixer)
                for _ in range(blocks)
            )
        )
        self.local_branches = nn.ModuleList(LocalBranch(channels, k) for k in kernels)
        self.merge: nn.Module = nn.Identity()
        if kernels:
            self.merge = nn.Conv2d((1 + len(kernels)) * channels, channels, 1)
        self._initialise()

    def _initialise(self) -> None:
        """Draw the weights of every convolution, the mixers' too, as released; biases are 0."""
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                # Kaiming's fan-out counts the groups, which nn.init does not.
                fan_out = math.prod(conv.kernel_size) * conv.out_channels // conv.groups
                nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Add the merged branches to the map."""
        if not self.local_branches:
            scanned: torch.Tensor = self.hss_blocks(x)
            return scanned
        channels_first = cast_once(x).permute(0, 3, 1, 2)
        branches = [cast_once(self.hss_blocks(x)).permute(0, 3, 1, 2)]
        branches += [branch(channels_first) for branch in self.local_branches]
        merged: torch.Tensor = self.merge(torch.cat(branches, dim=1))
        return x + merged.permute(0, 2, 3, 1)


class HSSBlock(nn.Module):
    """x + DropPath(SS2D(LayerNorm(x))), on maps b x h x w x C (MambaAD, figure 2).

    Args:
        drop_path: see :class:`mambaad.models.parallel.DropPath`.
        scan, directions, states, expand: see :class:`mambaad.models.mixers.ss2d.SS2D`.
        mixer: in place of SS2D, see :data:`mambaad.models.mixers.table.MIXERS`.
    """

    def __init__(
        self,
        channels: int,
        drop_path: float = 0.0,
        scan: ScanMethod = "hilbert",
        directions: int = 8,
        states: int = 16,
        expand: int = 2,
        mixer: Mixer = "s6",
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)  # eps 1e-5: the released values are those of 1e-5
        # Whatever the mixer, under the name that runs have stored SS2D's weights by.
        self.ss2d = MIXERS[mixer](channels, scan, directions, states, expand)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c"]:
        """Add what the mixer makes of the normalised map to the map."""
        mixed: torch.Tensor = self.drop_path(self.ss2d(self.norm(x)))
        return x + mixed


class LocalBranch(nn.Module):
    """1x1, depthwise k x k and 1x1 convolution, each with InstanceNorm and SiLU (b x C x h x w)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )
        self.after = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        """Convolve the surroundings of each cell."""
        for conv in (self.before, self.depthwise, self.after):
            x = F.silu(instance_norm(conv(x)))
        return x
