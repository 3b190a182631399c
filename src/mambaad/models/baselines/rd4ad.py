"""RD4AD: reverse distillation (Deng and Li, CVPR 2022, arXiv 2201.10703), for comparison.

The encoder's three maps go through a bottleneck that keeps what good parts have in common, and a
ResNet turned round rebuilds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mambaad.config import TrainConfig
from mambaad.errors import ConfigError
from mambaad.models.encoder import EMBEDDED, EMBEDDED_ARCHITECTURE, Encoder
from mambaad.models.system import System


class _Layout(NamedTuple):
    """Of a ResNet: blocks of the stages that are mirrored (coarse to fine), and their width."""

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
        encoder: images -> three maps; frozen.
        architecture: the ResNet that the encoder is: resnet18, resnet34, resnet50 or
            wide_resnet50_2.

    Raises:
        ConfigError: an encoder that is none of these.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "encoder": "wide_resnet50_2",
        "epochs": 200,
        "loss": "cosine",
        "beta1": 0.5,
        "weight_decay": 0.0,
        "lr_drop_after": 1.0,
    }

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

    @classmethod
    def build(cls, config: TrainConfig, encoder_weights: str | Path) -> RD4AD:
        """The untrained network; with WideResNet-50 80.6 M parameters, 24.9 M of them frozen."""
        architecture = EMBEDDED_ARCHITECTURE if config.encoder == EMBEDDED else config.encoder
        return cls(Encoder(config.encoder, encoder_weights), architecture)

    def reconstruct(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Rebuild the encoder's maps from what the bottleneck keeps of them."""
        maps: list[torch.Tensor] = self.decoder(self.bottleneck(features))
        return maps


class OneClassEmbedding(nn.Module):
    """Three maps at one scale, concatenated, through a residual stage to half of it.

    The paper's MFF and OCE: fine maps come down by 3 x 3 convolutions of stride 2, the stage
    is the encoder's fourth.
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

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embed maps at strides 4, 8, 16 as one of b x 2 c3 x h/32 x w/32."""
        f1, f2, f3 = features
        together = torch.cat([self.down1(f1), self.down2(f2), f3], dim=1)
        embedded: torch.Tensor = self.stage(together)
        return embedded


class MirroredResNet(nn.Module):
    """Three residual stages, each of which begins by doubling height and width."""

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

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Rebuild maps at strides 4, 8 and 16 from one at 32."""
        maps: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.insert(0, x)
        return maps


class _UpBlock(nn.Module):
    """A residual block of convolutions; the one that doubles the size is transposed."""

    branch: nn.Sequential

    def __init__(self, c_in: int, c_out: int, doubles: bool) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if doubles:
            self.shortcut = nn.Sequential(_double(c_in, c_out), nn.BatchNorm2d(c_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
