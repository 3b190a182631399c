"""Embeddings of images, by which a model tells its products apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch.nn import functional as F


def embedding(
    features: Sequence[Float[torch.Tensor, "b _ _ _"]],
) -> Float[torch.Tensor, "b c"]:
    """Embed images: each encoder map's mean over its cells, at length 1, concatenated.

    ``features``: per scale b x c_i x h_i x w_i. The mean embedding of a product's good parts is
    its prototype.
    """
    return torch.cat([F.normalize(f.float().mean(dim=(2, 3)), dim=1) for f in features], dim=1)


def distances_to(
    prototypes: Float[torch.Tensor, "products _"], embedded: Float[torch.Tensor, "b c"]
) -> Float[torch.Tensor, "b products"]:
    """Measure the Euclidean distances of embeddings to each product's prototype.

    ``prototypes``: products x c, or 0 x 0 where there are none.
    """
    if not len(prototypes):
        return embedded.new_empty(len(embedded), 0)
    # Not by a matrix product, which rounds small distances away.
    apart = embedded[:, None] - prototypes.to(embedded)
    return apart.square().sum(dim=2).sqrt()
