"""Trimming: places that are rebuilt worst do not teach, since they may show defects."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch.nn import functional as F


def trimmed(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    share: float,
) -> list[Float[torch.Tensor, "b _ _ _"]]:
    """Stop the gradients of the reconstruction where it is farthest from the features.

    At each scale the positions of a batch are ordered by d = 1 - cos(f, g), over the channels and
    without gradient; the ``share`` with the largest d (rounded down to whole positions) gets
    w = 0, the others w = 1, and g becomes w g + (1 - w) stopgrad(g). The values, and so any loss
    of whole maps, are what they were. The loss of a defect among the good parts is large, and
    without trimming it would be learned before all else (trimmed losses: Rousseeuw, 1984).

    No shape and no read depends on the values, so that a CUDA graph can hold it. With several
    devices each orders its own part of the batch.

    Args:
        features: the encoder's maps, for each scale i: b x c_i x h_i x w_i, any float type.
        reconstructed: the decoder's maps of the same shapes.
        share: of the positions, 0 to below 0.5; with 0 the maps are returned as they came.

    Returns:
        Maps of the same shapes, types and values as ``reconstructed``.
    """
    if not share:
        return list(reconstructed)
    return [_trimmed(f, g, share) for f, g in zip(features, reconstructed, strict=True)]


def _trimmed(
    features: Float[torch.Tensor, "b c h w"], rebuilt: Float[torch.Tensor, "b c h w"], share: float
) -> Float[torch.Tensor, "b c h w"]:
    with torch.no_grad():
        cosines = F.cosine_similarity(rebuilt.float(), features.float(), dim=1)
        # Sorted, as torch.quantile takes at most 16 million values and kthvalue is not
        # deterministic on a GPU.
        limit = cosines.flatten().sort().values[math.floor(share * cosines.numel())]
        teaches = (cosines >= limit).unsqueeze(1)
    return torch.where(teaches, rebuilt, rebuilt.detach())
