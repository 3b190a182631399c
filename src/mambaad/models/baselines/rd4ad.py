"""RD4AD: reverse distillation (Deng and Li, CVPR 2022, arXiv 2201.10703).

A bottleneck compresses the encoder's three maps into one embedding, from which a mirrored ResNet
rebuilds them. A baseline for MambaAD.

The bottleneck is ADer's, the benchmark in which MambaAD was compared with RD4AD: for WideResNet-50
it is that of ResNet-50. (ADer has no encoders of basic blocks; for ResNet-34 ours is that of
ResNet-18.) All else, and the bottleneck for ResNet-18 and -50, is as in RD4AD's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mambaad.errors import ConfigError
from mambaad.models.system import System


class _Layout(NamedTuple):
    """A ResNet's kind of block, blocks of each mirrored stage (coarse to fine), and width."""

    bottleneck: bool
    blocks: tuple[int, int, int]
    width: int = 64


_LAYOUTS = {
    "resnet18": _Layout(False, (2, 2, 2)),
    "resnet34": _Layout(False, (3, 4, 6)),
    "resnet50": _Layout(True, (3, 4, 6)),
    "wide_resnet50_2": _Layout(True, (3, 4, 6), width=128),
}


class RD4AD(System):
    """Encoder, one-class bottleneck embedding, and mirrored decoder.

    Args:
        encoder: images b x 3 x h x w -> three maps at strides 4, 8 and 16; frozen.
        architecture: the encoder's: resnet18, resnet34, resnet50 or wide_resnet50_2.

    Raises:
        ConfigError: another architecture.
    """

    def __init__(self, encoder: nn.Module, architecture: str) -> None:
        super().__init__(encoder)
        layout = _LAYOUTS.get(architecture.split(".")[0])
        if layout is None:
            raise ConfigError(
                f"--encoder: RD4AD mirrors its encoder, which must be one of "
                f"{', '.join(_LAYOUTS)}; got '{architecture}'"
            )
        self.bottleneck = OneClassEmbedding(layout.bottleneck)
        self.decoder = MirroredResNet(layout)

    def reconstruct(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild the encoder's maps from their embedding."""
        maps: list[torch.Tensor] = self.decoder(self.bottleneck(features))
        return maps


class OneClassEmbedding(nn.Module):
    """The paper's MFF and OCE: three maps brought to stride 16, concatenated, and embedded.

    3 x 3 convolutions of stride 2 reduce the finer maps; a residual stage like the fourth of a
    ResNet-18 or -50 embeds them at stride 32.

    It has 11.7 M parameters with basic blocks and 30.8 M with bottleneck blocks. RD4AD's own code
    has a third basic block for ResNet-34 (16.4 M), and for WideResNet-50 an inner width of 1024
    where ours, as ADer's, is 512 (58.9 M).
    """

    def __init__(self, bottleneck: bool) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        c1, c2, c3 = (c * block.expansion for c in (64, 128, 256))
        self.down1 = nn.Sequential(*_down(c1, c2), *_down(c2, c3))
        self.down2 = nn.Sequential(*_down(c2, c3))
        shortcut = nn.Sequential(
            nn.Conv2d(3 * c3, 2 * c3, 1, stride=2, bias=False), nn.BatchNorm2d(2 * c3)
        )
        first = block(3 * c3, 512, stride=2, downsample=shortcut)
        more = [block(2 * c3, 512) for _ in range(2 if bottleneck else 1)]
        self.stage = nn.Sequential(first, *more)
        _initialise(self)

    def forward(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> Float[torch.Tensor, "b c h w"]:
        """Embed maps at strides 4, 8, 16 as one of b x 2 c3 x h/32 x w/32."""
        f1, f2, f3 = features
        together = torch.cat([self.down1(f1), self.down2(f2), f3], dim=1)
        embedded: torch.Tensor = self.stage(together)
        return embedded


class MirroredResNet(nn.Module):
    """Three residual stages, each of which first doubles height and width."""

    def __init__(self, layout: _Layout) -> None:
        super().__init__()
        block = _UpBottleneck if layout.bottleneck else _UpBasicBlock
        expansion = 4 if layout.bottleneck else 1
        self.stages = nn.ModuleList()
        c_in = 512 * expansion
        for planes, blocks in zip((256, 128, 64), layout.blocks, strict=True):
            inner = planes * layout.width // 64
            c_out = planes * expansion
            more = [block(c_out, inner, c_out, doubles=False) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(block(c_in, inner, c_out, doubles=True), *more))
            c_in = c_out
        _initialise(self)

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild maps at strides 4, 8 and 16 from one at 32."""
        maps: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.insert(0, x)
        return maps


class _UpBlock(nn.Module):
    """A residual block; where it doubles the size, its convolution is transposed."""

    branch: nn.Sequential

    def __init__(self, c_in: int, c_out: int, doubles: bool) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if doubles:
            self.shortcut = nn.Sequential(_double(c_in, c_out), nn.BatchNorm2d(c_out))

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c2 h2 w2"]:
        return torch.relu(self.branch(x) + self.shortcut(x))


class _UpBasicBlock(_UpBlock):
    def __init__(self, c_in: int, inner: int, c_out: int, doubles: bool) -> None:
        super().__init__(c_in, c_out, doubles)
        first = _double(c_in, inner) if doubles else _same(c_in, inner)
        self.branch = nn.Sequential(
            *(first, nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(_same(inner, c_out), nn.BatchNorm2d(c_out)),
        )


class _UpBottleneck(_UpBlock):
    def __init__(self, c_in: int, inner: int, c_out: int, doubles: bool) -> None:
        super().__init__(c_in, c_out, doubles)
        middle = _double(inner, inner) if doubles else _same(inner, inner)
        self.branch = nn.Sequential(
            *(nn.Conv2d(c_in, inner, 1, bias=False), nn.BatchNorm2d(inner)),
            *(nn.ReLU(inplace=True), middle, nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(nn.Conv2d(inner, c_out, 1, bias=False), nn.BatchNorm2d(c_out)),
        )


def _double(c_in: int, c_out: int) -> nn.Module:
    return nn.ConvTranspose2d(c_in, c_out, 2, stride=2, bias=False)


def _same(c_in: int, c_out: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)


def _down(c_in: int, c_out: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)


def _initialise(module: nn.Module) -> None:
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
