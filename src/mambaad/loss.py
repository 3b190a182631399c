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
    """The sum over scales of the mean cosine distance of the cells, in float32: 0 to 2 a scale.

    It is what the anomaly map shows (RD4AD, equation 2, taken cell by cell): no scale outweighs
    the others by the size of its features. Arguments as of :func:`squared_error_loss`.
    """
    terms = [
        1 - F.cosine_similarity(theirs.float(), ours.float(), dim=1).mean()
        for theirs, ours in zip(reconstructed, features, strict=True)
    ]
    return torch.stack(terms).sum()


Loss = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], torch.Tensor]
LOSSES: Mapping[str, Loss] = {"squared-error": squared_error_loss, "cosine": cosine_loss}
