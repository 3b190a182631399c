"""Prototypes: the mean embedding of each product's good parts, kept beside a run's weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mambaad.artifacts.run_folder import PROTOTYPES
from mambaad.artifacts.tensors import load_tensors, save_tensors
from mambaad.errors import RunError


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of a model's products, and the range of its heatmaps.

    ``heatmap_range``: the anomaly map's values at the low and high end of all heatmaps.
    ``products``: the class names; ``means``: the mean embedding
    (:func:`mambaad.models.embedding.embedding`) of each product's good training parts, in the
    same order, products x channels, float32.
    """

    heatmap_range: tuple[float, float]
    products: tuple[str, ...]
    means: Float[np.ndarray, "products c"]


NO_PROTOTYPES = Prototypes((0.0, 1.0), (), np.empty((0, 0), np.float32))
"""The prototypes of a run without any: no product is known, heatmaps cover a usual range."""


def save_prototypes(folder: Path, prototypes: Prototypes) -> None:
    """Write the prototypes into a run folder, whole or not at all."""
    about = {"scale": prototypes.heatmap_range, "products": prototypes.products}
    save_tensors(folder / PROTOTYPES, {"means": prototypes.means}, about)


def read_prototypes(folder: Path) -> Prototypes:
    """Read a run's prototypes; :data:`NO_PROTOTYPES` before training has ended.

    Raises:
        RunError: the file is damaged.
    """
    path = Path(folder) / PROTOTYPES
    if not path.is_file():
        return NO_PROTOTYPES
    tensors, about = load_tensors(path)
    try:
        low, high = map(float, about["scale"])
        means, products = tensors["means"], tuple(map(str, about["products"]))
        if not low < high or means.shape[0] != len(products):
            raise ValueError
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunError(f"{path} is damaged; restore the run from a copy") from error
    return Prototypes((low, high), products, means)
