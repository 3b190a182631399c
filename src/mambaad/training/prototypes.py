"""Measuring the prototypes of a trained model's products, at the end of a training."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from mambaad.artifacts.prototypes import Prototypes
from mambaad.data.read_ahead import read_batches
from mambaad.models.embedding import embedding
from mambaad.models.normalise import normalise
from mambaad.models.scoring import heatmap_range, measure
from mambaad.models.system import System
from mambaad.types import ProductClass

_IMAGES = 200  # over all classes, but at least 4 and at most 50 of each
_BATCH = 8


@torch.inference_mode()
def measure_prototypes(
    model: System, classes: Iterable[ProductClass], size: tuple[int, int]
) -> Prototypes:
    """Measure mean embeddings and the heatmap range on some training images of each class.

    Args:
        model: in eval mode, on any device.
        classes: with the good parts that it was trained on.
        size: height and width of its images.

    Raises:
        DataError: an image that cannot be read.
    """
    classes = [c for c in classes if c.train]
    share = min(max(_IMAGES // len(classes), 4), 50)
    device = next(model.parameters()).device
    maps, means = [], []
    for c in classes:
        some = c.train[:: -(-len(c.train) // share)]
        embedded = []
        for batch in read_batches(some, size, _BATCH):
            images = normalise(torch.from_numpy(batch.pixels).to(device))
            found = model(images)
            maps.append(measure(model, found, size).anomaly_maps.cpu())
            embedded.append(embedding(found.features).cpu())
        means.append(torch.cat(embedded).mean(dim=0))
    return Prototypes(
        heatmap_range(torch.cat(maps)),
        tuple(c.name for c in classes),
        torch.stack(means).numpy(),
    )
