"""What the good parts of a run look like to its model, kept beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch.nn import functional as F

from mambaad.data.read_ahead import load_batches
from mambaad.data.transforms import Preprocess
from mambaad.models.scoring import anomaly_map, calm_scale
from mambaad.models.system import System
from mambaad.types import ProductClass

_IMAGES = 200  # over all classes, but at least 4 and at most 50 of each
_BATCH = 8


@dataclass(frozen=True)
class GoodParts:
    """What a model learned of its products besides its weights.

    ``scale``: low and high end of the heatmaps of all images.
    ``products``: the class names; ``means``: their good parts' mean :func:`embedding`, in the
    same order, products x channels.
    """

    scale: tuple[float, float]
    products: tuple[str, ...]
    means: torch.Tensor

    def distances(self, features: Sequence[torch.Tensor]) -> Float[torch.Tensor, "b products"]:
        """How far each image's embedding is from the mean of each product's good parts."""
        embedded = embedding(features)
        if not self.products:
            return embedded.new_empty(len(embedded), 0)
        # Not by a matrix product, which rounds small distances away.
        apart: torch.Tensor = embedded[:, None] - self.means.to(embedded)
        return apart.square().sum(dim=2).sqrt()


NO_GOOD_PARTS = GoodParts((0.0, 1.0), (), torch.empty(0, 0))
"""Of a model without training images at hand: heatmaps over the usual range of a map."""


def embedding(features: Sequence[torch.Tensor]) -> Float[torch.Tensor, "b c"]:
    """What an image shows, in one vector: each encoder map's mean over its cells, at length 1."""
    return torch.cat([F.normalize(f.float().mean(dim=(2, 3)), dim=1) for f in features], dim=1)


@torch.inference_mode()
def look_at_good_parts(
    model: System, classes: Iterable[ProductClass], size: tuple[int, int]
) -> GoodParts:
    """Summarise some training images of each class with a model in eval mode."""
    classes = [c for c in classes if c.train]
    share = min(max(_IMAGES // len(classes), 4), 50)
    device = next(model.parameters()).device
    maps, means = [], []
    for c in classes:
        some = c.train[:: -(-len(c.train) // share)]
        embedded = []
        for batch in load_batches(some, Preprocess(*size), _BATCH):
            features, reconstructed = model(batch.images.to(device))
            maps.append(anomaly_map(features, reconstructed, size, distance=model.distance).cpu())
            embedded.append(embedding(features).cpu())
        means.append(torch.cat(embedded).mean(dim=0))
    return GoodParts(
        calm_scale(torch.cat(maps)), tuple(c.name for c in classes), torch.stack(means)
    )
