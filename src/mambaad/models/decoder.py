"""The Mamba decoder: rebuilds the encoder's maps from the fused one, coarse or deep ones first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from mambaad.models.lss import LSSModule
from mambaad.models.mixers.table import Mixer
from mambaad.models.projection import project
from mambaad.ops.orders import ScanMethod


class PatchExpand(nn.Module):
    """Doubles height and width: Linear to 4 C_out, 2 x 2 pixel rearrangement, LayerNorm."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.expand = nn.Linear(c_in, 4 * c_out, bias=False)
        self.norm = nn.LayerNorm(c_out)
        nn.init.trunc_normal_(self.expand.weight, std=0.02)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Map b x h x w x C_in to b x 2h x 2w x C_out."""
        normalised: torch.Tensor = self.norm(self.rearrange(project(x, self.expand.weight)))
        return normalised

    @staticmethod
    def rearrange(x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Rearrange b x h x w x 4 C to b x 2h x 2w x C: a quarter of the channels a cell."""
        b, h, w, _ = x.shape
        return x.view(b, h, w, 2, 2, -1).transpose(2, 3).reshape(b, 2 * h, 2 * w, -1)


class DecoderStage(nn.Module):
    """An upsampling to this stage's size, or none, and LSS modules in cascade."""

    def __init__(self, upsample: nn.Module, lss_modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.upsample = upsample
        self.lss_modules = nn.Sequential(*lss_modules)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h2 w2 c2"]:
        """Rebuild the map of this stage from that of the stage before."""
        rebuilt: torch.Tensor = self.lss_modules(self.upsample(x))
        return rebuilt


class MambaDecoder(nn.Module):
    """Four stages of LSS modules, with a patch expansion before each but the first.

    (MambaAD, section 3.1.)

    Args:
        channels: c1, c2, c3 of the encoder's maps; the fused map has 2 c3.
        depths: HSS blocks of each stage, coarse to fine. A depth divisible by 3 is grouped in
            modules of 3 blocks, an even one in modules of 2, any other in modules of 1.
        scan, directions, states, expand: see :class:`mambaad.models.mixers.ss2d.SS2D`.
        kernels: see :class:`mambaad.models.lss.LSSModule`.
        drop_path: the largest rate of a linear ramp, from the coarsest block to 0 at the finest. As
            released, module j of a stage takes entry j of the stage's part of the ramp, whatever
            the number of its blocks.
        blocks: HSS blocks of every module, instead of 3, 2 or 1; a divisor of every depth.
        mixer: see :class:`mambaad.models.lss.LSSModule`.
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
        mixer: Mixer = "s6",
    ) -> None:
        super().__init__()
        c1, c2, c3 = channels
        widths = (2 * c3, c3, c2, c1)
        modules = _modules_of_stages(
            widths, depths, scan, directions, states, expand, kernels, drop_path, blocks, mixer
        )
        self.stages = nn.ModuleList()
        for i, width in enumerate(widths):
            upsample = PatchExpand(widths[i - 1], width) if i else nn.Identity()
            self.stages.append(DecoderStage(upsample, modules[i]))

    def forward(
        self, fused: Float[torch.Tensor, "b c h w"]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild the maps at strides 4, 8 and 16, b x c_i x h_i x w_i, channels last in memory.

        ``fused``: at stride 32.
        """
        x = fused.permute(0, 2, 3, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 3, 1, 2))
        # Finest first, as the encoder's maps; without the first stage's, at stride 32.
        return maps[:0:-1]


class GridHead(nn.Module):
    """Turns the decoder's channels into those of one of the encoder's maps: LayerNorm, Linear."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, channels, bias=False)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)

    def forward(self, x: Float[torch.Tensor, "b h w c"]) -> Float[torch.Tensor, "b h w c2"]:
        """Map b x h x w x width to b x h x w x channels."""
        return project(self.norm(x), self.linear.weight)


class GridDecoder(nn.Module):
    """Four stages of LSS modules on one grid, for an encoder whose maps are all on it.

    The stages are dealt out evenly to the maps, the deepest map first; a map is rebuilt by a head
    of its own from the mean of its stages (Dinomaly's groups of layers, CVPR 2025, section 3.5).

    Args:
        channels: c of each of the encoder's maps.
        maps: how many there are, 1 to 4.
        width: channels of the fused map, and of all stages.
        depths, scan, directions, states, expand, kernels, drop_path, blocks, mixer: see
            :class:`MambaDecoder`.
    """

    def __init__(
        self,
        channels: int,
        maps: int,
        width: int,
        depths: Sequence[int] = (3, 4, 6, 3),
        scan: ScanMethod = "hilbert",
        directions: int = 8,
        states: int = 16,
        expand: int = 2,
        kernels: Sequence[int] = (5, 7),
        drop_path: float = 0.2,
        blocks: int | None = None,
        mixer: Mixer = "s6",
    ) -> None:
        super().__init__()
        widths = (width,) * len(depths)
        modules = _modules_of_stages(
            widths, depths, scan, directions, states, expand, kernels, drop_path, blocks, mixer
        )
        self.stages = nn.ModuleList(DecoderStage(nn.Identity(), m) for m in modules)
        self.heads = nn.ModuleList(GridHead(width, channels) for _ in range(maps))

    def forward(
        self, fused: Float[torch.Tensor, "b width h w"]
    ) -> list[Float[torch.Tensor, "b c h w"]]:
        """Rebuild the encoder's maps, b x c x h x w, channels last in memory."""
        x = fused.permute(0, 2, 3, 1)
        of_stages = []
        for stage in self.stages:
            x = stage(x)
            of_stages.append(x)
        count, maps = len(of_stages), len(self.heads)
        rebuilt = []
        for i, head in enumerate(self.heads):
            mine = of_stages[i * count // maps : (i + 1) * count // maps]
            rebuilt.append(head(sum(mine) / len(mine)).permute(0, 3, 1, 2))
        return rebuilt[::-1]  # the deepest, which was rebuilt first, is the encoder's last


def _modules_of_stages(
    widths: Sequence[int],
    depths: Sequence[int],
    scan: ScanMethod,
    directions: int,
    states: int,
    expand: int,
    kernels: Sequence[int],
    drop_path: float,
    blocks: int | None,
    mixer: Mixer,
) -> list[list[LSSModule]]:
    """The LSS modules of each stage; see :class:`MambaDecoder`."""
    # On the CPU whatever the default device: a meta tensor has no values.
    rates = torch.linspace(drop_path, 0, sum(depths), device="cpu").tolist()
    stages = []
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        grouped = blocks or (3 if depth % 3 == 0 else 2 if depth % 2 == 0 else 1)
        first = sum(depths[:i])
        stages.append(
            [
                LSSModule(
                    *(width, grouped, rates[first + j], scan, directions, states, expand),
                    kernels,
                    mixer,
                )
                for j in range(depth // grouped)
            ]
        )
    return stages
