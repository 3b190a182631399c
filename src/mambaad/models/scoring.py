"""Anomaly maps and image scores from features and their reconstructions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch.nn import functional as F

from mambaad.models.system import Distance, Reconstruction, System

HEAD_SHARE = 0.25
"""Share of an anomaly map that is the residual head's, where there is one."""


def measure(
    system: System, found: Reconstruction, size: tuple[int, int]
) -> tuple[Float[torch.Tensor, "b h w"], Float[torch.Tensor, " b"]]:
    """Make the anomaly maps and the image scores of a system, by its own measures.

    Args:
        system: whose ``distance``, ``smoothing`` and ``pooling`` apply.
        found: what it computed of the images.
        size: height and width of the maps, those of the image.

    Returns:
        Maps (:func:`anomaly_map`) and scores (:func:`image_score`).
    """
    maps = anomaly_map(
        found.features,
        found.reconstructed,
        size,
        system.smoothing,
        system.distance,
        found.logits,
    )
    return maps, image_score(maps, system.pooling)


def anomaly_map(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
    reconstructed: Sequence[Float[torch.Tensor, "b _ _ _"]],
    size: tuple[int, int],
    sigma: float = System.smoothing,
    distance: Distance = System.distance,
    logits: Float[torch.Tensor, "b _ _"] | None = None,
) -> Float[torch.Tensor, "b h w"]:
    """Measure the reconstruction error at each pixel (MambaAD, section 3.1).

    At each scale, take the distance over channels and resize it to ``size`` (bilinear, corners
    aligned); average over scales; smooth with a Gaussian. With a residual head a quarter of the map
    is the probability of a defect that it finds (before smoothing).

    Args:
        features, reconstructed: per scale b x c_i x h_i x w_i.
        size: height and width of the map, those of the image.
        sigma: standard deviation of the Gaussian, in pixels; 0 for no smoothing.
        distance: ``"cosine"`` (1 - the similarity) or ``"euclidean"`` (UniAD).
        logits: of the head (:class:`mambaad.models.system.Reconstruction`), or None.

    Returns:
        float32, 0 or more (cosine: at most 2); about 0 where the image looks like a good part.
    """
    mean = distance_maps(features, reconstructed, size, distance).mean(dim=0)
    if logits is not None:
        mean = (1 - HEAD_SHARE) * mean + HEAD_SHARE * defect_probability(logits, size)
    return smooth(mean, sigma) if sigma else mean


def defect_probability(
    logits: Float[torch.Tensor, "b _ _"], size: tuple[int, int]
) -> Float[torch.Tensor, "b h w"]:
    """Resize the head's logits, each to where the cell lies, and turn them into probabilities."""
    resized = F.interpolate(logits.float()[:, None], size, mode="bilinear")
    return resized[:, 0].sigmoid()


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
