"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

WEIGHT = 5.0


def reconstruction_loss(
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
