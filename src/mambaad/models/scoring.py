"""Anomaly maps and image scores from features and their reconstructions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch.nn import functional as F

from mambaad.models.system import Distance, Reconstruction, System

HEAD_GAIN = 1 / 3
"""What the residual head adds to an anomaly map where it is certain of a defect."""


class Measures(NamedTuple):
    """What a system's measures say of images.

    ``anomaly_maps``, ``error_maps``: :func:`anomaly_map`, with the residual head's part if there
    is one, and without it. ``scores``: :func:`image_score` of the error maps. ``scale_maps``: of
    each scale, not smoothed; the error maps are their mean, smoothed.
    """

    anomaly_maps: Float[torch.Tensor, "b h w"]
    error_maps: Float[torch.Tensor, "b h w"]
    scores: Float[torch.Tensor, " b"]
    scale_maps: Float[torch.Tensor, "scales b h w"]


def measure(system: System, found: Reconstruction, size: tuple[int, int]) -> Measures:
    """Make the anomaly maps and the image scores of a system, by its own measures.

    Where a residual head finds a defect it adds to the map. The image score is that of the
    reconstruction error alone: the head outlines defects well, but ranks images no better.

    Args:
        system: whose ``distance``, ``smoothing`` and ``pooling`` apply.
        found: what it computed of the images.
        size: height and width of the maps, those of the image.
    """
    scale_maps = distance_maps(found.features, found.reconstructed, size, system.distance)
    errors = maps = _joined(scale_maps, system.smoothing)
    if found.logits is not None:
        maps = errors + HEAD_GAIN * defect_probability(found.logits, size, system.smoothing)
    return Measures(maps, errors, image_score(errors, system.pooling), scale_maps)


def anomaly_map(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    size: tuple[int, int],
    sigma: float = System.smoothing,
    distance: Distance = System.distance,
) -> Float[torch.Tensor, "b h w"]:
    """Measure the reconstruction error at each pixel (MambaAD, section 3.1).

    At each scale, take the distance over channels and resize it to ``size`` (bilinear, corners
    aligned); average over scales; smooth with a Gaussian.

    Args:
        features, reconstructed: per scale b x c_i x h_i x w_i.
        size: height and width of the map, those of the image.
        sigma: standard deviation of the Gaussian, in pixels; 0 for no smoothing.
        distance: ``"cosine"`` (1 - the similarity) or ``"euclidean"`` (UniAD).

    Returns:
        float32, 0 or more (cosine: at most 2); about 0 where the image looks like a good part.
    """
    return _joined(distance_maps(features, reconstructed, size, distance), sigma)


def _joined(
    scale_maps: Float[torch.Tensor, "scales b h w"], sigma: float
) -> Float[torch.Tensor, "b h w"]:
    mean = scale_maps.mean(dim=0)
    return smooth(mean, sigma) if sigma else mean


def scale_shares(
    scale_maps: Float[torch.Tensor, "scales h w"], at: tuple[int, int], sigma: float
) -> Float[torch.Tensor, " scales"]:
    """The contribution of each scale to an error map's value at one pixel, as shares.

    The map is linear in its scales, and one pixel of a smoothed map needs no other, so this costs
    next to nothing.

    Args:
        scale_maps: of an image (:attr:`Measures.scale_maps`).
        at: row and column.
        sigma: of the Gaussian, in pixels; 0 for no smoothing.

    Returns:
        0 or more, adding up to 1 where the map is above 0.
    """
    row, column = at
    if sigma:
        down, right = (_gaussian_matrix(n, sigma, scale_maps.device) for n in scale_maps.shape[1:])
        parts = scale_maps.to(down) @ right[column] @ down[row]
    else:
        parts = scale_maps[:, row, column]
    return parts / parts.sum().clamp(min=1e-12)


def defect_probability(
    logits: Float[torch.Tensor, "b r c"], size: tuple[int, int], sigma: float
) -> Float[torch.Tensor, "b h w"]:
    """Turn the head's logits into probabilities of a defect, smooth them, and resize them.

    They are smoothed as the map is, but on their own grid, where it costs next to nothing; each is
    resized to where its cell lies.

    Args:
        logits: of the head (:class:`mambaad.models.system.Reconstruction`).
        size: height and width of the result, those of the image.
        sigma: of the Gaussian, in pixels of the image; 0 for no smoothing.
    """
    probability = logits.float().sigmoid()
    if sigma:
        probability = smooth(probability, sigma * logits.shape[1] / size[0])
    return F.interpolate(probability[:, None], size, mode="bilinear")[:, 0]


def distance_maps(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    size: tuple[int, int],
    distance: Distance = "cosine",
) -> Float[torch.Tensor, "scales b h w"]:
    """Measure each scale's distance over channels, resized; :func:`anomaly_map` is their mean."""
    distances = [
        _DISTANCES[distance](encoded.float(), rebuilt.float())
        for encoded, rebuilt in zip(features, reconstructed, strict=True)
    ]
    return torch.stack(
        [
            F.interpolate(d[:, None], size, mode="bilinear", align_corners=True)[:, 0]
            for d in distances
        ]
    )


_DISTANCES: dict[Distance, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    # Rounding can give values down to -1e-7.
    "cosine": lambda a, b: (1 - F.cosine_similarity(a, b, dim=1)).clamp(0, 2),
    "euclidean": lambda a, b: torch.linalg.vector_norm(a - b, dim=1),
}


def image_score(
    maps: Float[torch.Tensor, "b h w"], pooling: int = System.pooling
) -> Float[torch.Tensor, " b"]:
    """Take the maximum of each map as the image's score.

    With ``pooling`` above 1 it is the maximum over all squares of that many pixels a side, wholly
    inside the map, of the mean in the square, as in UniAD's code.
    """
    pooled = F.avg_pool2d(maps[:, None], pooling, stride=1) if pooling > 1 else maps
    return pooled.flatten(1).amax(dim=1)


def smooth(maps: Float[torch.Tensor, "b h w"], sigma: float) -> Float[torch.Tensor, "b h w"]:
    """Filter with a Gaussian, cut at 4 sigma and mirrored at the borders, as ``scipy.ndimage``."""
    height, width = maps.shape[1:]
    down = _gaussian_matrix(height, sigma, maps.device).to(maps.dtype)
    right = _gaussian_matrix(width, sigma, maps.device).to(maps.dtype)
    return down @ maps @ right.T


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)  # the cached matrix must serve training too
def _gaussian_matrix(length: int, sigma: float, device: torch.device) -> Float[torch.Tensor, "l l"]:
    """The filter along one axis as a matrix, whose row i has the weights of the pixels around i."""
    radius = int(4 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets / sigma).double() ** 2)
    weights /= weights.sum()
    # Mirrored with the border pixel repeated: d c b a | a b c d | d c b a
    source = (torch.arange(length)[:, None] + offsets) % (2 * length)
    source = torch.where(source < length, source, 2 * length - 1 - source)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, source, weights.expand(length, -1))
    return matrix.float().to(device)


def heatmap_range(maps: Float[torch.Tensor, "n h w"]) -> tuple[float, float]:
    """Choose the range of values that a heatmap's colours span, from good parts' anomaly maps.

    It begins at their median and is three times as wide as it takes to hold 99.9 % of their
    pixels, so that good parts show only the first third of the colours.
    """
    values = maps.flatten()
    median, high = values.median().item(), _quantile(values, 0.999)
    return median, median + 3 * max(high - median, 1e-3)


def _quantile(values: Float[torch.Tensor, " n"], q: float) -> float:
    # torch.quantile refuses more than 16 million values.
    return values.kthvalue(max(round(q * len(values)), 1)).values.item()
