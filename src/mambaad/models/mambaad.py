"""MambaAD (He et al., NeurIPS 2024, arXiv 2404.06564): encoder, fusion and Mamba decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from mambaad.models.parallel import dropout
from mambaad.models.system import System


class MambaAD(System):
    """Rebuilds the feature maps of good parts with a Mamba decoder.

    Args:
        encoder: images b x 3 x h x w -> three maps at strides 4, 8 and 16, or any number on one
            grid; frozen.
        fusion: these maps -> one, at stride 32, or on that grid.
        decoder: that one map -> maps of the shapes of the encoder's.
        noisy_bottleneck: rate of dropout on the fused map, while training: the decoder learns to
            rebuild good parts from a spoiled map (Dinomaly, CVPR 2025, section 3.3).
    """

    def __init__(
        self,
        encoder: nn.Module,
        fusion: nn.Module,
        decoder: nn.Module,
        noisy_bottleneck: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        self.fusion = fusion
        self.noisy_bottleneck = noisy_bottleneck
        self.decoder = decoder

    def reconstruct(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild the encoder's maps from their fusion."""
        fused = dropout(self.fusion(features), self.noisy_bottleneck, training=self.training)
        maps: list[torch.Tensor] = self.decoder(fused)
        return maps
