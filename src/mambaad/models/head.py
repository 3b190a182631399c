"""The residual head: from where and how the reconstruction fails to where the defect is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional as F

from mambaad.models.parallel import BatchNorm2d

WIDTH, NARROW = 64, 32
"""Channels of the residuals of all scales, and of the convolutions after them."""
_NOTHING = -12.0
"""The logit everywhere before training: no cell is anomalous."""


class ResidualHead(nn.Module):
    """Segments defects in the residuals of a reconstruction (as INP-Former++, 2025).

    At each scale the residual of a cell is ``sqrt(c) (1 - cos(f, g)) |f / |f| - g / |g||``, its c
    channels kept, so that features of any size and number count alike; a 1 x 1 convolution brings
    it to :data:`WIDTH` channels. Their sum, at the finest scale, goes through two 3 x 3
    convolutions and one of 1 x 1.

    It is trained on synthetic anomalies when all else has been, and stays frozen until then: its
    parameters take no gradient, and it finds nothing.

    Args:
        channels: c_i of the encoder's maps.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, WIDTH, 1, bias=False), BatchNorm2d(WIDTH)) for c in channels
        )
        self.segment = nn.Sequential(
            nn.ReLU(inplace=True),
            *(nn.Conv2d(WIDTH, NARROW, 3, padding=1, bias=False), BatchNorm2d(NARROW)),
            nn.ReLU(inplace=True),
            *(nn.Conv2d(NARROW, NARROW, 3, padding=1, bias=False), BatchNorm2d(NARROW)),
            nn.ReLU(inplace=True),
        )
        self.classify = nn.Conv2d(NARROW, 1, 1)
        self.silence()
        self.requires_grad_(False)

    def silence(self) -> None:
        """Find nothing, in whatever features."""
        nn.init.zeros_(self.classify.weight)
        nn.init.constant_(self.classify.bias, _NOTHING)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Draw what is to be trained anew, and let it take gradients."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | BatchNorm2d):
                module.reset_parameters()
        self.requires_grad_(True)

    def forward(
        self,
        features: Sequence[Float[torch.Tensor, "b _ _ _"]],
        reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    ) -> Float[torch.Tensor, "b h w"]:
        """Return the logit of a defect in each cell of the finest map.

        Args:
            features, reconstructed: per scale b x c_i x h_i x w_i, the finest first.
        """
        grid = features[0].shape[2:]
        total: torch.Tensor | float = 0.0
        # In bfloat16 probabilities would come in steps of some per cent.
        with torch.autocast(features[0].device.type, enabled=False):
            for reduce, encoded, rebuilt in zip(self.reduce, features, reconstructed, strict=True):
                reduced = reduce(_residual(encoded.float(), rebuilt.float()))
                total = total + F.interpolate(reduced, grid, mode="bilinear", align_corners=True)
            logits: torch.Tensor = self.classify(self.segment(total))
        return logits[:, 0]


def _residual(
    encoded: Float[torch.Tensor, "b c h w"], rebuilt: Float[torch.Tensor, "b c h w"]
) -> Float[torch.Tensor, "b c h w"]:
    ours, theirs = F.normalize(encoded, dim=1), F.normalize(rebuilt, dim=1)
    distance = 1 - (ours * theirs).sum(dim=1, keepdim=True)
    return (math.sqrt(ours.shape[1]) * distance) * (ours - theirs).abs()
