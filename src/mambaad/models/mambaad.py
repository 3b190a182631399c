"""MambaAD (He et al., NeurIPS 2024, arXiv 2404.06564): encoder, fusion and Mamba decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import nn

from mambaad.errors import ConfigError
from mambaad.size import SIZE_MULTIPLE


class Reconstruction(NamedTuple):
    """The encoder's maps and the decoder's, at strides 4, 8 and 16, each b x c_i x h_i x w_i."""

    features: list[torch.Tensor]
    reconstructed: list[torch.Tensor]


class MambaAD(nn.Module):
    """Rebuilds the feature maps of good parts; where it fails, the image is anomalous.

    Args:
        encoder: images -> three maps; frozen.
        fusion: three maps -> one.
        decoder: one map -> three like the encoder's.
    """

    def __init__(self, encoder: nn.Module, fusion: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.fusion = fusion
        self.decoder = decoder

    def forward(self, images: Float[torch.Tensor, "b 3 h w"]) -> Reconstruction:
        """Rebuild the images' features.

        Args:
            images: RGB, ImageNet mean and standard deviation; sides multiples of 32.

        Raises:
            ConfigError: a side that is not a multiple of 32.
        """
        height, width = images.shape[-2:]
        if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
            raise ConfigError(
                f"images are {height} x {width}, expected sides that are multiples of "
                f"{SIZE_MULTIPLE}; resize them, or set --size"
            )
        features = self.encoder(images)
        return Reconstruction(features, self.reconstruct(features))

    def reconstruct(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Rebuild feature maps from themselves, as the trained part of the model does."""
        maps: list[torch.Tensor] = self.decoder(self.fusion(features))
        return maps
