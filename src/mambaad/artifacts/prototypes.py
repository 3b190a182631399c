"""Prototypes: the mean embedding of each product's good parts, kept beside a run's weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError

from mambaad.artifacts.manifest import PROTOTYPES
from mambaad.artifacts.snapshot import Snapshot
from mambaad.artifacts.tensors import Content, parse_tensors, tensors_content


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

_LARGEST = 1e15
"""The largest value of a mean: distances to it are finite in float32, as is the sum of squares."""


class _About(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    scale: tuple[float, float]
    products: tuple[str, ...]


def prototypes_content(prototypes: Prototypes) -> Content:
    """Make the content of a run's file of prototypes."""
    about = {"scale": prototypes.heatmap_range, "products": prototypes.products}
    return tensors_content({"means": prototypes.means}, about)


def read_prototypes(run: Snapshot) -> Prototypes:
    """Read a run's prototypes; :data:`NO_PROTOTYPES` before training has ended.

    Raises:
        RunError: the file is damaged.
    """
    if not run.has(PROTOTYPES):
        return NO_PROTOTYPES
    tensors, found = parse_tensors(run.read(PROTOTYPES), run.name(PROTOTYPES))
    try:
        about = _About.model_validate(found)
    except ValidationError as error:
        raise run.damaged(PROTOTYPES, "its products or its range are no such") from error
    (low, high), products, means = about.scale, about.products, tensors.get("means")
    if not low < high or len(set(products)) < len(products):
        raise run.damaged(PROTOTYPES, "its products or its range are no such")
    if means is None or means.dtype != np.float32 or means.ndim != 2 or len(means) != len(products):
        raise run.damaged(PROTOTYPES, "its means are not those of its products")
    if means.size and np.abs(means).max() > _LARGEST:
        raise run.damaged(PROTOTYPES, f"a mean is larger than {_LARGEST:.0e}")
    return Prototypes((low, high), products, means)
