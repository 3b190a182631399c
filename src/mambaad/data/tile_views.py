"""What is trained on of large images: tiles at their own resolution, beside the images as a whole.

A view is a sample like any other, so that caches, resuming and the residual head need not know.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from mambaad.data.decoding import Decoded
from mambaad.data.images import read_sample_image
from mambaad.data.tiling import Tiling, cut
from mambaad.errors import DataError
from mambaad.size import SIZE_MULTIPLE
from mambaad.types import ProductClass, Reading, Sample

Positions = Literal["random", "grid"]
WHOLE_SHARE = 4
"""Tiles for each view of an image as a whole."""
KEPT = 2**29
"""Bytes of decoded images that are kept, as several views of one may follow each other."""


def training_views(
    classes: Sequence[ProductClass],
    tiling: Tiling,
    *,
    views: int,
    positions: Positions = "random",
    seed: int = 0,
) -> tuple[Sample, ...]:
    """List what is trained on: the same number of views for each class.

    A fifth of them show an image as a whole, the others one of its tiles; all images of a class
    take turns. The tiles are the same whenever they are listed again.

    Args:
        classes: with good parts in ``train``, of any sizes; what is no larger than a tile is shown
            as a whole.
        tiling: the size of the tiles, and their grid.
        views: tiles of an image on average over all classes.
        positions: ``"random"`` places on the grid of 32 pixels, or those of the tiling's grid, in
            random order.
        seed: of the places.
    """
    images = sum(len(c.train) for c in classes) / max(sum(bool(c.train) for c in classes), 1)
    tiles = round(views * images)
    kept = _Kept()
    found: list[Sample] = []
    for c in classes:
        count = len(c.train)
        if not count:
            continue
        for number in range(tiles):
            base = c.train[number % count]
            turn = number // count
            view = TileView(base, tiling, positions, turn, _seed(seed, base, number % count), kept)
            found.append(replace(base, mask_path=None, more_masks=(), held=view))
        wholes = max(round(tiles / WHOLE_SHARE), count)
        found += [c.train[number % count] for number in range(wholes)]
    return tuple(found)


def _seed(seed: int, sample: Sample, index: int) -> tuple[int, int, int]:
    return seed, zlib.crc32(sample.class_name.encode()), index


@dataclass(frozen=True)
class TileView:
    """One tile of an image, cut when it is read (as :class:`mambaad.data.parts.Held` is).

    ``base``: the image. ``turn``: which of its views this is, from 0. ``seed``: of the image's
    places.
    """

    base: Sample
    tiling: Tiling
    positions: Positions
    turn: int
    seed: tuple[int, int, int]
    kept: _Kept = field(repr=False, compare=False)
    digest: str = ""

    def place(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the tile in an image of a height and a width."""
        if self.positions == "grid":
            places = self.tiling.places(shape)
            order = np.random.default_rng(self.seed).permutation(len(places))
            return places[int(order[self.turn % len(places)])]
        random = np.random.default_rng((*self.seed, self.turn))
        # The last one on the grid, as tilings have it.
        lasts = [Tiling(self.tiling.size, self.tiling.stride).offsets(side)[-1] for side in shape]
        row, column = (
            int(random.integers(last // SIZE_MULTIPLE + 1)) * SIZE_MULTIPLE for last in lasts
        )
        return row, column

    def decode(self, reading: Reading) -> Decoded:
        """Cut the tile; an image no larger than one is returned as it is (DataError)."""
        pixels = self.kept.read(replace(self.base, reading=reading))
        shape = pixels.shape[0], pixels.shape[1]
        if self.tiling.splits(shape):
            pixels = cut(pixels, *self.place(shape), self.tiling.size)
        return Decoded(Image.fromarray(pixels))

    def mask(self, reading: Reading) -> Bool[np.ndarray, "h w"]:
        """Good parts have no mask (DataError)."""
        raise DataError(f"{self.base.path} is trained on as a good part, and has no mask")


class _Kept:
    """The images decoded last, as many as fit into :data:`KEPT` bytes."""

    def __init__(self) -> None:
        self._images: OrderedDict[Path, UInt8[np.ndarray, "h w 3"]] = OrderedDict()
        self._turn = threading.Lock()  # images are read by several threads

    def read(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """Read an image, if it is not kept."""
        with self._turn:
            if sample.path in self._images:
                self._images.move_to_end(sample.path)
                return self._images[sample.path]
        pixels = read_sample_image(sample)
        with self._turn:
            self._images[sample.path] = pixels
            while sum(image.nbytes for image in self._images.values()) > KEPT:
                self._images.popitem(last=False)
        return pixels
