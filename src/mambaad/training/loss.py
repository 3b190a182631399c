"""The training losses: one value per image, of which the loop minimises the mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch.nn import functional as F

WEIGHT = 5.0
"""Weight of the squared error: lam = 5 of the released configuration."""


def squared_error_loss(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
) -> Float[torch.Tensor, " b"]:
    """Compute 5 x the sum over scales of the mean squared error (MambaAD, equation 7).

    Args:
        features: the encoder's maps, for each scale i: b x c_i x h_i x w_i, any float type.
        reconstructed: the decoder's maps of the same shapes.

    Returns:
        One value for each of the b images, in float32, 0 or more.
    """
    terms = [
        F.mse_loss(rebuilt.float(), encoded.float(), reduction="none").flatten(1).mean(dim=1)
        for rebuilt, encoded in zip(reconstructed, features, strict=True)
    ]
    return WEIGHT * torch.stack(terms).sum(dim=0)


def cosine_loss(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
) -> Float[torch.Tensor, " b"]:
    """Compute the sum over scales of the cosine distance between whole maps.

    Each image's map of a scale is one vector, as in RD4AD's released code, so no scale outweighs
    the others by the size of its features, while within a map the strong cells count most.

    Args:
        features: the encoder's maps, for each scale i: b x c_i x h_i x w_i, any float type.
        reconstructed: the decoder's maps of the same shapes.

    Returns:
        One value for each of the b images, in float32, 0 to 2 per scale.
    """
    terms = [
        1 - F.cosine_similarity(rebuilt.float().flatten(1), encoded.float().flatten(1))
        for rebuilt, encoded in zip(reconstructed, features, strict=True)
    ]
    return torch.stack(terms).sum(dim=0)


Loss = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor]
LOSSES: Mapping[str, Loss] = {"squared-error": squared_error_loss, "cosine": cosine_loss}
