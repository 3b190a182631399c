"""Why a part got its score: which scale, which scan direction, and what a good part has there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.func import functional_call
from torch.nn import functional as F

from mambaad.data.images import read_image
from mambaad.data.read_ahead import read_ahead
from mambaad.data.transforms import Preprocess
from mambaad.errors import DataError
from mambaad.models.mambaad import MambaAD
from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.prototypes import embedding
from mambaad.models.scoring import SIGMA, distance_maps, smooth
from mambaad.models.system import System
from mambaad.ops.orders import direction_names
from mambaad.progress import say
from mambaad.types import Sample

_MATCHED = 1  # of the encoder's maps: the middle one, stride 8; of a single map that one


@dataclass(frozen=True)
class Explanation:
    """What made the highest value of an anomaly map.

    ``at``: row and column of that pixel, at the model's size. ``scale_maps``: each scale's part of
    the map, coarsest last; they add up to it. ``scale_shares``: of the score, adding up to 1.
    ``strides``: of the scales, in pixels at the model's size.
    ``directions``: for each scan direction, by how much leaving it out of every block lowers the
    value there, less the same at the median pixel, over the score. Large: what that direction
    carried there was wrong. Empty for systems that do not scan.
    """

    at: tuple[int, int]
    scale_maps: Float[np.ndarray, "scales h w"]
    scale_shares: tuple[float, ...]
    strides: tuple[int, ...]
    directions: dict[str, float]


@dataclass(frozen=True)
class GoodMatch:
    """The place of a good part that is most like a place of another part.

    ``at``: row and column at the model's size, as in :class:`Explanation`; ``similarity``: cosine
    of the encoder's features, of stride 8 where it has several maps.
    """

    sample: Sample
    at: tuple[int, int]
    similarity: float


class Explainer:
    """Explains what a model found.

    Args:
        model: as trained, in eval mode, not in its form for inference.
        size: height and width of its images.
    """

    def __init__(self, model: System, size: tuple[int, int]) -> None:
        self.model = model
        self.size = size
        self.preprocess = Preprocess(*size)

    @torch.inference_mode()
    def explain(
        self,
        pixels: UInt8[np.ndarray, "h w 3"],
        counted: Float[np.ndarray, "h2 w2"] | None = None,
    ) -> Explanation:
        """Say what made the score of an image.

        Args:
            pixels: 8-bit RGB.
            counted: its anomaly map, where only some of it is inspected: minus infinity elsewhere.
        """
        features, reconstructed = self.model(self.preprocess(pixels)[None])
        parts = self._parts(features, reconstructed)
        whole = parts.sum(dim=0)
        peaked = whole.numpy() if counted is None else counted
        row, column = (int(i) for i in np.unravel_index(peaked.argmax(), peaked.shape))
        shares = parts[:, row, column] / whole[row, column].clamp(min=1e-12)
        directions: dict[str, float] = {}
        if isinstance(self.model, MambaAD):
            blocks = [m for m in self.model.decoder.modules() if isinstance(m, SS2D)]
            names = direction_names(blocks[0].directions)
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
        self, features: Sequence[torch.Tensor], reconstructed: Sequence[torch.Tensor]
    ) -> Float[torch.Tensor, "scales h w"]:
        """What each scale adds to the anomaly map: mean and smoothing are linear."""
        maps = distance_maps(features, reconstructed, self.size, self.model.distance)[:, 0]
        return smooth(maps, SIGMA) / len(maps)


def _without(model: MambaAD, fused: torch.Tensor, direction: int) -> Any:
    """The maps rebuilt while no block hears one of its scan's directions."""
    changed: dict[str, torch.Tensor] = {}
    for name, block in model.decoder.named_modules():
        if not isinstance(block, SS2D):
            continue
        states, rank = block.A_log.shape[2], block.dt_weight.shape[2]
        rows = rank + 2 * states
        projection, skip = block.scan_proj.clone(), block.skip.clone()
        # y = C h + skip u: without both nothing of the direction is left.
        projection[(direction + 1) * rows - states : (direction + 1) * rows] = 0
        skip[direction] = 0
        changed |= {f"{name}.scan_proj": projection, f"{name}.skip": skip}
    return functional_call(model.decoder, changed, (fused,))


class GoodPartsIndex:
    """Good parts of each class, to find the one that looks most like a given part.

    Args:
        model: whose encoder compares.
        size: height and width of its images.
        parts: by class.
        most: of a class, evenly spread over its parts, that are looked at.
    """

    def __init__(
        self,
        model: System,
        size: tuple[int, int],
        parts: dict[str, Sequence[Sample]],
        most: int = 50,
    ) -> None:
        self._encoder = model.encoder
        self._preprocess = Preprocess(*size)
        self._parts = {
            name: list(some[:: max(-(-len(some) // most), 1)]) for name, some in parts.items()
        }
        self._embedded: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def nearest(
        self, product: str, pixels: UInt8[np.ndarray, "h w 3"], at: tuple[int, int]
    ) -> GoodMatch | None:
        """The place most like ``at`` in the good part most like the image; None without parts.

        Args:
            product: the class.
            pixels: 8-bit RGB.
            at: row and column, at the model's size.
        """
        if product not in self._embedded:
            self._embed(product)
        parts = self._parts.get(product)
        if not parts:
            return None
        ours = self._maps(pixels)
        distances = torch.cdist(embedding(ours), self._embedded[product])
        sample = parts[int(distances.argmin())]
        theirs = self._maps(read_image(sample.path))
        matched = min(_MATCHED, len(ours) - 1)
        height, width = self._preprocess.height, self._preprocess.width
        rows, columns = ours[matched].shape[2:]
        row, column = at[0] * rows // height, at[1] * columns // width
        here = ours[matched][0, :, row, column]
        similar = F.cosine_similarity(theirs[matched][0], here[:, None, None], dim=0)
        best = int(similar.argmax())
        found = (
            int((best // columns + 0.5) * height / rows),
            int((best % columns + 0.5) * width / columns),
        )
        return GoodMatch(sample, found, float(similar.max()))

    def _embed(self, product: str) -> None:
        """Look at the class's good parts; those that cannot be read are left out, which is said."""
        readable, embedded = [], []
        parts = self._parts.get(product, [])
        for sample, pixels in zip(parts, read_ahead(_read_or_say, parts), strict=True):
            if pixels is not None:
                readable.append(sample)
                embedded.append(embedding(self._maps(pixels)))
        self._parts[product] = readable
        self._embedded[product] = torch.cat(embedded) if embedded else torch.empty(0, 0)

    def _maps(self, pixels: UInt8[np.ndarray, "h w 3"]) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = self._encoder(self._preprocess(pixels)[None])
        return maps


def _read_or_say(sample: Sample) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        return read_image(sample.path)
    except DataError as error:
        say(f"{error}; no part is compared with it")
        return None
