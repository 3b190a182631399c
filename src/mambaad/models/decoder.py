"""The Mamba decoder: rebuilds the encoder's maps from the fused one, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from mambaad.models.lss import LSSModule
from mambaad.models.projection import project
from mambaad.ops.orders import ScanMethod


class PatchExpand(nn.Module):
    """Twice the height and width: Linear to 4 C_out, 2 x 2 pixel rearrangement, LayerNorm."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.expand = nn.Linear(c_in, 4 * c_out, bias=False)
        self.norm = nn.LayerNorm(c_out)
        nn.init.trunc_normal_(self.expand.weight, std=0.02)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Spread each cell's channels over 2 x 2 cells."""
        normalised: torch.Tensor = self.norm(self.rearrange(project(x, self.expand.weight)))
        return normalised

    @staticmethod
    def rearrange(x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Deal a cell's channels out to 2 x 2 cells."""
        b, h, w, _ = x.shape
        return x.view(b, h, w, 2, 2, -1).transpose(2, 3).reshape(b, 2 * h, 2 * w, -1)


class DecoderStage(nn.Module):
    """LSS modules in cascade, after what brings the map to their size."""

    def __init__(self, upsample: nn.Module, lss_modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.upsample = upsample
        self.lss_modules = nn.Sequential(*lss_modules)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Rebuild the map at this stage's scale."""
        rebuilt: torch.Tensor = self.lss_modules(self.upsample(x))
        return rebuilt


class MambaDecoder(nn.Module):
    """Four stages of LSS modules, a patch expansion before each but the first.

    Args:
        channels: those of the encoder's maps, c1, c2, c3; the fused map has 2 c3.
        depths: HSS blocks of each stage, coarse to fine. A depth divisible by 3 is grouped in
            modules of 3 blocks, an even one in modules of 2, any other in modules of 1.
        scan, directions, states, expand: see :class:`mambaad.models.mixers.ss2d.SS2D`.
        kernels: see :class:`mambaad.models.lss.LSSModule`.
        blocks: HSS blocks of each module instead, a divisor of every depth.
        drop_path: the largest rate; it falls linearly to 0 from the coarsest block to the finest.
    """

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int] = (3, 4, 6, 3),
        scan: ScanMethod = "hilbert",
        directions: int = 8,
        states: int = 16,
        expand: int = 2,
        kernels: Sequence[int] = (5, 7),
        drop_path: float = 0.2,
        blocks: int | None = None,
    ) -> None:
        super().__init__()
        c1, c2, c3 = channels
        widths = (2 * c3, c3, c2, c1)
        rates = torch.linspace(drop_path, 0, sum(depths), device="cpu").tolist()  # read at once
        self.stages = nn.ModuleList()
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            grouped = blocks or (3 if depth % 3 == 0 else 2 if depth % 2 == 0 else 1)
            first = sum(depths[:i])
            # As released: the j-th module of a stage takes the rate of the stage's j-th block.
            modules = [
                LSSModule(
                    width, grouped, rates[first + j], scan, directions, states, expand, kernels
                )
                for j in range(depth // grouped)
            ]
            upsample = PatchExpand(widths[i - 1], width) if i else nn.Identity()
            self.stages.append(DecoderStage(upsample, modules))

    def forward(self, fused: Float[torch.Tensor, "b c h w"]) -> list[torch.Tensor]:
        """Rebuild the maps at strides 4, 8 and 16, b x c_i x h_i x w_i, channels last in memory."""
        x = fused.permute(0, 2, 3, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))
        return maps[:0:-1]
