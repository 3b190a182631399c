"""The interface of every system: a frozen encoder, and a network that rebuilds its maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import nn

from mambaad.errors import ConfigError
from mambaad.models.head import ResidualHead
from mambaad.size import SIZE_MULTIPLE

Distance = Literal["cosine", "euclidean"]


class Reconstruction(NamedTuple):
    """What a system computes of images.

    ``features``, ``reconstructed``: the encoder's maps and their reconstructions, per scale
    b x c_i x h_i x w_i. ``logits``: of a defect in each cell of the finest map, by the system's
    residual head; None if it has none.
    """

    features: list[Float[torch.Tensor, "b _ _ _"]]
    reconstructed: list[Float[torch.Tensor, "b _ _ _"]]
    logits: Float[torch.Tensor, "b _ _"] | None = None


class System(nn.Module, ABC):
    """Rebuilds the feature maps of good parts; where it fails, the image is anomalous.

    A further system is one file with a class like this, a line in
    :data:`mambaad.models.build.BUILDERS` and a line in :data:`mambaad.recipes.SYSTEMS`.

    Args:
        encoder: images b x 3 x h x w -> a list of maps b x c_i x h_i x w_i; frozen. Its
            ``multiple``, if it has one, is what h and w must be multiples of, else 32.

    Attributes:
        distance: the measure between a cell's features and their reconstruction, for the anomaly
            map.
        head: the residual head, or None.
        smoothing: standard deviation of the Gaussian that smooths the map, in pixels; 0 for none.
        pooling: side of the squares of pixels whose means the image score is the maximum of.

    :func:`mambaad.models.scoring.measure` makes maps and scores by these.
    """

    distance: ClassVar[Distance] = "cosine"
    smoothing: ClassVar[float] = 4.0
    pooling: ClassVar[int] = 1

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: ResidualHead | None = None
        self._multiple = int(getattr(encoder, "multiple", SIZE_MULTIPLE))

    @abstractmethod
    def reconstruct(
        self, features: Sequence[Float[torch.Tensor, "b _ _ _"]]
    ) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Rebuild feature maps with the trained part of the system.

        Args:
            features: per scale b x c_i x h_i x w_i; the result has the same shapes.
        """

    def prepare(self, batches: Iterable[Sequence[Float[torch.Tensor, "_ _ _ _"]]]) -> None:
        """Measure, before training, what the system needs to know of maps; here nothing.

        Args:
            batches: the encoder's maps of some good parts, per scale b x c_i x h_i x w_i for any b.
        """

    def forward(self, images: Float[torch.Tensor, "b 3 h w"]) -> Reconstruction:
        """Rebuild the images' features, and judge the residuals if there is a head.

        Args:
            images: RGB, normalised with ImageNet's mean and standard deviation; sides multiples
                of the encoder's ``multiple``.

        Raises:
            ConfigError: a side that is not such a multiple.
        """
        height, width = images.shape[-2:]
        if height % self._multiple or width % self._multiple:
            raise ConfigError(
                f"images are {height} x {width}, expected sides that are multiples of "
                f"{self._multiple}; resize them, or set --size"
            )
        features = self.encoder(images)
        reconstructed = self.reconstruct(features)
        logits = self.head(features, reconstructed) if self.head is not None else None
        return Reconstruction(features, reconstructed, logits)
