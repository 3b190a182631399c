"""What a configuration trains on: the good parts' images, or views of large ones in tiles."""

from __future__ import annotations

from collections.abc import Sequence

from mambaad.config import TrainConfig
from mambaad.data.tile_views import training_views
from mambaad.data.tiling import Tiling
from mambaad.types import ProductClass, Sample


def training_samples(classes: Sequence[ProductClass], config: TrainConfig) -> tuple[Sample, ...]:
    """List what is trained on of the classes' good parts; the same whenever it is called.

    Args:
        classes: with the good parts to train on in ``train``.
        config: says whether images are seen in tiles, and which of them.
    """
    if config.tiles is None:
        return tuple(sample for c in classes for sample in c.train)
    return training_views(
        classes,
        Tiling(*config.tiles),
        views=config.tile_views,
        positions=config.tile_positions,
        seed=config.seed,
    )
