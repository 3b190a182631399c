"""The fusion of the encoder's maps into one, from which the decoder starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from mambaad.models.parallel import BatchNorm2d


class Fusion(nn.Module):
    """Half-FPN bottleneck (the paper's "H-FPN", the released ``MFF_OCE``).

    With R a convolution, batch normalisation and ReLU:
    ``a = R3x3/2(f1); b = R1x1(f2) + a; c = R3x3/2(b) + R1x1(f3); d = R1x1(c)``,
    then three ResNet bottleneck blocks, the first with stride 2.

    Args:
        channels: c1, c2, c3 of the encoder's maps; the fused map has 2 c3.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        c1, c2, c3 = channels
        self.down1 = _conv_relu(c1, c2, kernel=3, stride=2)
        self.lateral2 = _conv_relu(c2, c2)
        self.down2 = _conv_relu(c2, c3, kernel=3, stride=2)
        self.lateral3 = _conv_relu(c3, c3)
        self.mix = _conv_relu(c3, c3)
        shortcut = nn.Sequential(
            nn.Conv2d(c3, 2 * c3, 1, stride=2, bias=False), BatchNorm2d(2 * c3)
        )
        self.bottleneck = nn.Sequential(
            Bottleneck(c3, c3 // 2, stride=2, downsample=shortcut, norm_layer=BatchNorm2d),
            Bottleneck(2 * c3, c3 // 2, norm_layer=BatchNorm2d),
            Bottleneck(2 * c3, c3 // 2, norm_layer=BatchNorm2d),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> Float[torch.Tensor, "b c h w"]:
        """Fuse maps at strides 4, 8, 16 into one of b x 2 c3 x h/32 x w/32."""
        f1, f2, f3 = features
        b = self.lateral2(f2) + self.down1(f1)
        c = self.down2(b) + self.lateral3(f3)
        fused: torch.Tensor = self.bottleneck(self.mix(c))
        return fused


class GridFusion(nn.Module):
    """MLP of the mean of maps on one grid, as the bottleneck of Dinomaly (CVPR 2025).

    Conv1x1(GELU(Conv1x1(LayerNorm(mean)))), 4 c channels inside. The norm, over channels, is ours:
    the lengths of tokens differ widely from one transformer to the next.

    Args:
        channels: c of each map.
        width: channels of the fused map.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Conv2d(channels, 4 * channels, 1)
        self.narrow = nn.Conv2d(4 * channels, width, 1)
        for conv in (self.widen, self.narrow):
            nn.init.trunc_normal_(conv.weight, std=0.02)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(
        self, features: Sequence[Float[torch.Tensor, "b c h w"]]
    ) -> Float[torch.Tensor, "b width h w"]:
        """Fuse maps b x c x h x w into one of b x width x h x w."""
        mean = torch.stack(list(features)).mean(dim=0)
        normalised = self.norm(mean.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        fused: torch.Tensor = self.narrow(F.gelu(self.widen(normalised)))
        return fused


def _conv_relu(c_in: int, c_out: int, *, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    # As released: the 1x1 convolutions have a bias although batch normalisation follows.
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=kernel == 1)
    return nn.Sequential(conv, BatchNorm2d(c_out), nn.ReLU(inplace=True))
