"""The training losses: one value per image, of which the loop minimises the mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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

EASY = 0.1
"""The gradient that the quantile form of the loose loss leaves to well rebuilt cells."""
POWER = 3
"""The power of the soft form."""


def loosen_by_quantile(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    share: Float[torch.Tensor, ""] | float,
) -> list[Float[torch.Tensor, "b _ _ _"]]:
    """Scale down the gradients of the cells that are rebuilt well (Dinomaly, CVPR 2025, eq. 5).

    With d the cosine distance of a cell and t the ``share`` quantile of d over the batch, per
    scale: cells with d below t pass on :data:`EASY` of their gradient, the others all of it. So
    the decoder does not go on to perfect what it can rebuild already, which would teach it to
    rebuild defects as well.

    Args:
        features, reconstructed: per scale b x c_i x h_i x w_i.
        share: of the cells, 0 to 1, that are taken to be easy.

    Returns:
        The reconstructed maps: the same values, other gradients. Of several devices each orders
        its own part of the batch.
    """
    loosened = []
    for encoded, rebuilt in zip(features, reconstructed, strict=True):
        distances = _distances(encoded, rebuilt)
        # By rank: torch.quantile refuses more than 16 million values.
        ordered = distances.flatten().sort().values
        rank = torch.as_tensor(share, device=ordered.device) * (len(ordered) - 1)
        threshold = ordered.index_select(0, rank.long().reshape(1))
        weights = torch.where(distances < threshold, EASY, 1.0)
        loosened.append(_scale_gradients(rebuilt, weights))
    return loosened


def loosen_softly(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
) -> list[Float[torch.Tensor, "b _ _ _"]]:
    """Scale gradients by (d / mean d) ^ :data:`POWER`, at most 1 (as INP-Former, CVPR 2025).

    Args, returns: see :func:`loosen_by_quantile`; the mean is over the batch, per scale.
    """
    loosened = []
    for encoded, rebuilt in zip(features, reconstructed, strict=True):
        distances = _distances(encoded, rebuilt)
        relative = distances / distances.mean().clamp_min(torch.finfo(distances.dtype).tiny)
        loosened.append(_scale_gradients(rebuilt, relative.pow(POWER).clamp(max=1)))
    return loosened


def training_loss(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    loss: str,
    loose: str = "off",
    share: Float[torch.Tensor, ""] | float = 0.0,
) -> Float[torch.Tensor, " b"]:
    """Compute the loss that a configuration names, with its loose form.

    Args:
        features, reconstructed: per scale b x c_i x h_i x w_i.
        loss: a name of :data:`LOSSES`.
        loose: ``"off"``, ``"quantile"`` or ``"soft"``.
        share: see :func:`loosen_by_quantile`; :func:`mambaad.training.schedule.loose_share` has it.

    Returns:
        One value for each image; the loose forms change gradients alone.
    """
    if loose == "quantile":
        reconstructed = loosen_by_quantile(features, reconstructed, share)
    elif loose == "soft":
        reconstructed = loosen_softly(features, reconstructed)
    return LOSSES[loss](features, reconstructed)


@torch.no_grad()
def _distances(
    encoded: Float[torch.Tensor, "b c h w"], rebuilt: Float[torch.Tensor, "b c h w"]
) -> Float[torch.Tensor, "b h w"]:
    return (1 - F.cosine_similarity(encoded.float(), rebuilt.float(), dim=1)).clamp_min(0)


def _scale_gradients(
    rebuilt: Float[torch.Tensor, "b c h w"], weights: Float[torch.Tensor, "b h w"]
) -> Float[torch.Tensor, "b c h w"]:
    """The same map, through which a cell's gradient is multiplied by its weight."""
    same: torch.Tensor = _ScaledGradient.apply(rebuilt, weights)
    return same


class _ScaledGradient(torch.autograd.Function):
    """w g + (1 - w) stopgrad(g), whose value is g to the bit."""

    @staticmethod
    def forward(ctx: Any, rebuilt: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weights)
        return rebuilt.view_as(rebuilt)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weights,) = ctx.saved_tensors
        return gradient * weights[:, None].to(gradient.dtype), None
