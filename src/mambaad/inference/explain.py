"""Explanations of a score: its scales, its scan directions, and the same place on a good part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.func import functional_call
from torch.nn import functional as F

from mambaad.data.images import read_sample_image, resize_image
from mambaad.data.read_ahead import read_ahead
from mambaad.errors import DataError
from mambaad.models.embedding import embedding
from mambaad.models.mambaad import MambaAD
from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.mixers.ssd import SSD
from mambaad.models.normalise import normalise
from mambaad.models.scoring import distance_maps, smooth
from mambaad.models.system import System
from mambaad.ops.orders import direction_names
from mambaad.progress import say
from mambaad.types import Sample

_MATCHED = 1  # index among the encoder's maps: stride 8, or later blocks; one map is used as it is


@dataclass(frozen=True)
class Explanation:
    """Contributions to the highest value of the map that an image is scored by.

    ``at``: row and column of that pixel, at the model's size. ``scale_maps``: the contribution of
    each scale to the map, coarsest or deepest last; they add up to it. ``scale_shares``: the
    contributions to the score as shares, which add up to 1. ``strides``: of the scales, in pixels
    at the model's size. ``directions``: for each scan direction, the decrease at that pixel when
    every block omits the direction, minus the decrease at the median pixel, over the score; a large
    value means that the direction carried a wrong reconstruction there. Empty for systems that do
    not scan.
    """

    at: tuple[int, int]
    scale_maps: Float[np.ndarray, "scales h w"]
    scale_shares: tuple[float, ...]
    strides: tuple[int, ...]
    directions: dict[str, float]


@dataclass(frozen=True)
class GoodMatch:
    """The place on a good part that is most similar to a place on another part.

    ``at``: row and column at the model's size, as in :class:`Explanation`. ``similarity``: the
    cosine of the encoder's features, -1 to 1; those of its second map if it has several.
    """

    sample: Sample
    at: tuple[int, int]
    similarity: float


class Explainer:
    """Explains the scores of a model.

    Args:
        model: as trained, in eval mode, not packed for inference.
        size: height and width of its images.
    """

    def __init__(self, model: System, size: tuple[int, int]) -> None:
        self.model = model
        self.size = size

    @torch.inference_mode()
    def explain(
        self,
        pixels: UInt8[np.ndarray, "h w 3"],
        inspected: Float[np.ndarray, "h2 w2"] | None = None,
    ) -> Explanation:
        """Explain the score of an image, in which a residual head has no part.

        Args:
            pixels: 8-bit RGB, of any size.
            inspected: its scored map (:class:`mambaad.inference.engine.Observation`), minus
                infinity where defects do not count; None if they count everywhere.
        """
        features = self.model.encoder(_batch(pixels, self.size))
        parts = self._parts(features, self.model.reconstruct(features))
        whole = parts.sum(dim=0)
        searched = whole.numpy() if inspected is None else inspected
        row, column = (int(i) for i in np.unravel_index(searched.argmax(), searched.shape))
        shares = parts[:, row, column] / whole[row, column].clamp(min=1e-12)
        directions: dict[str, float] = {}
        if isinstance(self.model, MambaAD):
            names = direction_names(_count_directions(self.model))
            fused = self.model.fusion(features)
            for k, name in enumerate(names if len(names) > 1 else []):
                without = self._parts(features, _without(self.model, fused, k)).sum(dim=0)
                change = whole - without
                excess = change[row, column] - change.median()
                directions[name] = float(excess / whole[row, column].clamp(min=1e-12))
        strides = tuple(self.size[0] // f.shape[2] for f in features)
        return Explanation(
            (row, column), parts.numpy(), tuple(shares.tolist()), strides, directions
        )

    def _parts(
        self,
        features: Sequence[torch.Tensor],
        reconstructed: Sequence[torch.Tensor],
    ) -> Float[torch.Tensor, "scales h w"]:
        """The contributions of the scales to the scored map, which is linear in them."""
        maps = distance_maps(features, reconstructed, self.size, self.model.distance)[:, 0]
        parts = maps / len(maps)
        sigma = self.model.smoothing
        return smooth(parts, sigma) if sigma else parts


def _count_directions(model: MambaAD) -> int:
    """Count the directions in which each block scans; 1 if it has no order."""
    for block in model.decoder.modules():
        if isinstance(block, SS2D):
            return block.directions
        if isinstance(block, SSD):
            return 2
    return 1


def _without(model: MambaAD, fused: torch.Tensor, direction: int) -> Any:
    """Reconstruct the maps with one scan direction omitted from every block."""
    changed: dict[str, torch.Tensor] = {}
    for name, block in model.decoder.named_modules():
        if isinstance(block, SSD):
            bias = block.dt_bias.clone()
            bias[direction] = -torch.inf  # time steps of 0: nothing enters the states
            changed[f"{name}.dt_bias"] = bias
        if not isinstance(block, SS2D):
            continue
        states, rank = block.A_log.shape[2], block.dt_weight.shape[2]
        rows = rank + 2 * states
        projection, skip = block.scan_proj.clone(), block.skip.clone()
        # y = C h + skip u: zeroing C and skip removes the direction.
        projection[(direction + 1) * rows - states : (direction + 1) * rows] = 0
        skip[direction] = 0
        changed |= {f"{name}.scan_proj": projection, f"{name}.skip": skip}
    return functional_call(model.decoder, changed, (fused,))


class ReferenceParts:
    """Good parts of each class, to find the one most similar to a given part.

    Args:
        model: its encoder gives the features to compare.
        size: height and width of its images.
        parts: good parts by class.
        most: the number of parts compared per class, evenly spaced over all of them.
    """

    def __init__(
        self,
        model: System,
        size: tuple[int, int],
        parts: Mapping[str, Sequence[Sample]],
        most: int = 50,
    ) -> None:
        self._encoder = model.encoder
        self._size = size
        self._parts = {
            name: list(samples[:: max(-(-len(samples) // most), 1)])
            for name, samples in parts.items()
        }
        self._embedded: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def nearest(
        self, product: str, pixels: UInt8[np.ndarray, "h w 3"], at: tuple[int, int]
    ) -> GoodMatch | None:
        """Find the place most similar to ``at`` on the good part most similar to the image.

        Args:
            product: the class.
            pixels: 8-bit RGB.
            at: row and column, at the model's size.

        Returns:
            The match; None if the class has no good part that can be read.
        """
        if product not in self._embedded:
            self._embed(product)
        parts = self._parts.get(product)
        if not parts:
            return None
        maps = self._maps(pixels)
        distances = torch.cdist(embedding(maps), self._embedded[product])
        sample = parts[int(distances.argmin())]
        maps_of_good = self._maps(read_sample_image(sample))
        matched = min(_MATCHED, len(maps) - 1)
        height, width = self._size
        rows, columns = maps[matched].shape[2:]
        row, column = at[0] * rows // height, at[1] * columns // width
        features_here = maps[matched][0, :, row, column]
        similar = F.cosine_similarity(maps_of_good[matched][0], features_here[:, None, None], dim=0)
        best = int(similar.argmax())
        place = (
            int((best // columns + 0.5) * height / rows),
            int((best % columns + 0.5) * width / columns),
        )
        return GoodMatch(sample, place, float(similar.max()))

    def _embed(self, product: str) -> None:
        """Embed the good parts of a class; unreadable ones are reported and left out."""
        readable, embedded = [], []
        parts = self._parts.get(product, [])
        for sample, pixels in zip(parts, read_ahead(_read_or_report, parts), strict=True):
            if pixels is not None:
                readable.append(sample)
                embedded.append(embedding(self._maps(pixels)))
        self._parts[product] = readable
        self._embedded[product] = torch.cat(embedded) if embedded else torch.empty(0, 0)

    def _maps(self, pixels: UInt8[np.ndarray, "h w 3"]) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = self._encoder(_batch(pixels, self._size))
        return maps


def _batch(
    pixels: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> Float[torch.Tensor, "1 3 h2 w2"]:
    """Make a normalised batch of one image."""
    return normalise(torch.from_numpy(resize_image(pixels, size).copy())[None])


def _read_or_report(sample: Sample) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        return read_sample_image(sample)
    except DataError as error:
        say(f"{error}; not used for comparison")
        return None
