"""MambaAD (He et al., NeurIPS 2024, arXiv 2404.06564): encoder, fusion and Mamba decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from mambaad.config import TrainConfig
from mambaad.models.decoder import MambaDecoder
from mambaad.models.encoder import Encoder
from mambaad.models.fusion import Fusion
from mambaad.models.system import System


class MambaAD(System):
    """Rebuilds the feature maps of good parts with a Mamba decoder.

    Args:
        encoder: images -> three maps; frozen.
        fusion: three maps -> one.
        decoder: one map -> three like the encoder's.
    """

    def __init__(self, encoder: nn.Module, fusion: nn.Module, decoder: nn.Module) -> None:
        super().__init__(encoder)
        self.fusion = fusion
        self.decoder = decoder

    @classmethod
    def build(cls, config: TrainConfig, encoder_weights: str | Path) -> MambaAD:
        """The untrained model; with ResNet-34 25.62 M parameters, 8.17 M of them frozen."""
        encoder = Encoder(config.encoder, encoder_weights)
        decoder = MambaDecoder(
            encoder.channels,
            config.depths,
            config.scan,
            config.directions,
            config.states,
            config.expand,
            config.kernels,
            config.drop_path,
            config.blocks,
        )
        return cls(encoder, Fusion(encoder.channels), decoder)

    def reconstruct(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Rebuild the encoder's three maps from what the fusion makes of them."""
        maps: list[torch.Tensor] = self.decoder(self.fusion(features))
        return maps
