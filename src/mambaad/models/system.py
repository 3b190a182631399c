"""What all systems have in common: a frozen encoder, and a network that rebuilds its maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import nn

from mambaad.config import TrainConfig
from mambaad.errors import ConfigError
from mambaad.size import SIZE_MULTIPLE

Distance = Literal["cosine", "euclidean"]


class Reconstruction(NamedTuple):
    """The encoder's maps and those rebuilt, per scale b x c_i x h_i x w_i."""

    features: list[torch.Tensor]
    reconstructed: list[torch.Tensor]


class System(nn.Module):
    """Rebuilds the feature maps of good parts; where it fails, the image is anomalous.

    A system is one file with a class like this, and a line in :data:`mambaad.systems.SYSTEMS`.

    Args:
        encoder: images -> feature maps; frozen.

    Attributes:
        defaults: the settings of :class:`mambaad.config.TrainConfig` that its paper trains with,
            where they are not MambaAD's.
        own_loss: the one loss that it can be trained with, whatever the recipe; None for any.
        distance: how a cell's features are compared with those rebuilt, for the anomaly map.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    own_loss: ClassVar[str | None] = None
    distance: ClassVar[Distance] = "cosine"

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    @abstractmethod
    def build(cls, config: TrainConfig, encoder_weights: str | Path) -> System:
        """The untrained system that a configuration describes.

        ``encoder_weights``: those of ``config``, or ``"random"`` where a run's own follow.
        """

    @abstractmethod
    def reconstruct(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Rebuild feature maps from themselves, as the trained part of the system does."""

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
