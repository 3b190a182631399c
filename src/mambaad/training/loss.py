"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional as F

WEIGHT = 5.0


def squared_error_loss(
    features: Sequence[torch.Tensor], reconstructed: Sequence[torch.Tensor]
) -> torch.Tensor:
    """5 x the sum over scales of the mean squared error, in float32 (MambaAD, equation 7).

    ``features`` and ``reconstructed``: per scale b x c_i x h_i x w_i.
    """
    terms = [
        F.mse_loss(theirs.float(), ours.float())
        for theirs, ours in zip(reconstructed, features, strict=True)
    ]
    return WEIGHT * torch.stack(terms).sum()


def cosine_loss(
    features: Sequence[torch.Tensor], reconstructed: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The sum over scales of the mean cosine distance of an image's maps, in float32.

    Each image's map of a scale is one vector, as in RD4AD's released code: 0 to 2 a scale, so that
    none outweighs the others by the size of its features, while within a map the strong cells
    count most. Arguments as of :func:`squared_error_loss`.
    """
    terms = [
        1 - F.cosine_similarity(theirs.float().flatten(1), ours.float().flatten(1)).mean()
        for theirs, ours in zip(reconstructed, features, strict=True)
    ]
    return torch.stack(terms).sum()


Loss = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor]
LOSSES: Mapping[str, Loss] = {"squared-error": squared_error_loss, "cosine": cosine_loss}
