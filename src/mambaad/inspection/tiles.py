"""Large images in tiles: the network sees the whole, resized, and each tile at its own resolution.

The result is one observation as of any image, so that decisions, calibration and pages need not
know of tiles. Its maps have one value for 4 x 4 pixels, as the finest features have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from mambaad.data.masks import resize_map, resize_mask_nearest
from mambaad.data.strips import Strips
from mambaad.data.tiling import Pixels, Tiling, cut
from mambaad.errors import ConfigError, RunError
from mambaad.inference.engine import Engine, Observation
from mambaad.setting_checks import as_tiles
from mambaad.size import TILE_MARGIN, check_tiles

if TYPE_CHECKING:
    from mambaad.models.system import System

CELL = 4
"""Pixels of the image for one value of its map, down and across."""

Map = Float[np.ndarray, "h w"]
Region = Bool[np.ndarray, "h2 w2"]


def choose_tiling(
    source: str | Path,
    size: tuple[int, int],
    made: tuple[int, int] | None,
    given: int | str | tuple[int, int] | None,
) -> Tiling | None:
    """Choose the tiles in which a model sees large images; None: it sees them as a whole only.

    Args:
        source: the model's run or bundle.
        size: height and width of the images that its network sees.
        made: size and stride of the tiles that it was calibrated, or else trained, with.
        given: those that are asked for; ``"off"`` for none, None for ``made``.

    Raises:
        ConfigError: not such tiles, or of another size than the network's images.
        RunError: other ones than a bundle's.
    """
    if given is None:
        return Tiling(*made) if made else None
    tiles = as_tiles(given)
    if tiles == made:
        return Tiling(*tiles) if tiles else None
    if Path(source).is_file():
        raise RunError(
            f"--tiles: {source} was made with {tiles_text(made)}, got {tiles_text(tiles)}; omit "
            "it, or calibrate the run with these tiles and bundle it again"
        )
    if tiles is None:
        return None
    check_tiles(tiles)
    if size != (tiles[0], tiles[0]):
        raise ConfigError(
            f"--tiles: {source} sees images of {size[0]} x {size[1]} pixels, and its tiles are of "
            f"that size, got {tiles[0]}; give --tiles {size[0]}, or train with --tiles {tiles[0]}"
        )
    return Tiling(*tiles)


def tiles_text(tiles: tuple[int, int] | None) -> str:
    """Tiles as ``--tiles`` takes them: ``512:384``, or ``off``."""
    return f"{tiles[0]}:{tiles[1]}" if tiles else "off"


def map_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the map of an image in tiles, of a height and width in pixels."""
    return -(-shape[0] // CELL), -(-shape[1] // CELL)


def profile(tiling: Tiling, *, is_first: bool, is_last: bool) -> Float[np.ndarray, " n"]:
    """The weight of a tile's values along one side, in cells, from 0 to 1.

    0 in the margin; rising linearly over the rest of the overlap, so that the weights of two
    neighbours add up to 1; and 1 as far as the edge where the image ends.
    """
    cells, margin = tiling.size // CELL, TILE_MARGIN // CELL
    blended = (tiling.size - tiling.stride) // CELL - 2 * margin
    rising = np.clip((np.arange(cells) - margin + 1) / (blended + 1), 0, 1).astype(np.float32)
    ones = np.ones(cells, np.float32)
    return (ones if is_first else rising) * (ones if is_last else rising[::-1])


class Merged:
    """Maps of an image that are put together of those of its tiles.

    Args:
        shape: height and width of the image, in pixels.
        tiling: where its tiles lie.
        layers: the number of maps of a tile.
    """

    def __init__(self, shape: tuple[int, int], tiling: Tiling, layers: int) -> None:
        self._tiling = tiling
        self._last = tuple(tiling.offsets(length)[-1] for length in shape)
        self._sums = np.zeros((layers, *map_shape(shape)), np.float32)
        self._weights = np.zeros(map_shape(shape), np.float32)

    def weights(self, row: int, column: int) -> Map:
        """The weights of the tile at a place in pixels, cell by cell."""
        down, right = (
            profile(self._tiling, is_first=place == 0, is_last=place == last)
            for place, last in zip((row, column), self._last, strict=True)
        )
        return np.outer(down, right)

    def window(self, row: int, column: int) -> tuple[slice, slice]:
        """Where the tile at a place in pixels lies in the map."""
        cells = self._tiling.size // CELL
        top, left = row // CELL, column // CELL
        return slice(top, top + cells), slice(left, left + cells)

    def add(self, row: int, column: int, maps: Float[np.ndarray, "l s s"]) -> None:
        """Add the maps of the tile at a place, which have a value for each of its pixels."""
        layers, height, width = maps.shape
        cells = maps.reshape(layers, height // CELL, CELL, width // CELL, CELL).mean(axis=(2, 4))
        window = down, right = self.window(row, column)
        height, width = self._weights[window].shape  # less than a tile where the image ends
        weights = self.weights(row, column)[:height, :width]
        self._sums[:, down, right] += weights * cells[:, :height, :width]
        self._weights[window] += weights

    def maps(self) -> Float[np.ndarray, "layers h w"]:
        """The merged maps; 0 where there was no tile. Nothing can be added after it."""
        self._sums /= np.maximum(self._weights, np.float32(1e-6))
        return self._sums


class TiledEngine:
    """An engine for images that are seen as a whole and in tiles.

    By itself it is an :class:`mambaad.inference.engine.Engine` of whole images; the stream then
    has it look at the tiles (:meth:`with_tiles`).

    Args:
        engine: with square images of the size of a tile; it keeps evidence.
        tiling: where the tiles lie.
        keep_evidence: give observations their evidence.
    """

    batch_size = 1
    """Large images are observed one by one; their tiles fill the batches."""

    def __init__(self, engine: Engine, tiling: Tiling, *, keep_evidence: bool = False) -> None:
        self.engine = engine
        self.tiling = tiling
        self._keeps_evidence = keep_evidence

    @property
    def device(self) -> str:
        """See :class:`mambaad.inference.engine.Engine`."""
        return self.engine.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a tile, and of whole images for the network."""
        return self.engine.size

    @property
    def reads_ahead(self) -> int:
        """See :class:`mambaad.inference.engine.Engine`."""
        return self.engine.reads_ahead

    @property
    def trained(self) -> System | None:
        """See :class:`mambaad.inference.engine.Engine`."""
        return self.engine.trained

    def observe(self, images: np.ndarray) -> list[Observation]:
        """Observe whole images, resized; see :meth:`mambaad.inference.engine.Engine.observe`."""
        return self.engine.observe(images)

    def with_tiles(
        self, whole: Observation, image: Strips, region: Region | None = None
    ) -> Observation:
        """Observe the tiles of an image, and join their maps with that of the whole.

        At each cell the higher of the two counts. An image no larger than a tile keeps the
        observation of the whole.

        Args:
            whole: the observation of the whole image.
            image: its pixels.
            region: True where the image is inspected, at any size; only tiles that count there
                are looked at. The map is the same there as without it.

        Returns:
            Its score is the maximum of ``scored_map``; its maps are of :func:`map_shape`.
        """
        evidence = whole.evidence
        assert evidence is not None  # as the engine keeps it
        if not self.tiling.splits(image.shape):
            return whole if self._keeps_evidence else whole._replace(evidence=None)
        sigma = evidence.smoothing / CELL
        has_head = whole.error_map is not None
        scales = len(evidence.scale_maps)
        layers = (scales if self._keeps_evidence else 1) + has_head
        merged = Merged(image.shape, self.tiling, layers)
        for places, tiles in self._batches(image, merged, _grown(region, image.shape, sigma)):
            found = self.engine.observe(tiles)
            for place, observation in zip(places, found, strict=True):
                merged.add(*place, self._layers(observation))
        maps = merged.maps()
        scale_maps = maps[: layers - has_head]
        mean = scale_maps.mean(axis=0)
        errors = ndimage.gaussian_filter(mean, sigma) if sigma else mean
        height, width = errors.shape
        whole_errors = resize_map(whole.scored_map, height, width)
        is_whole = whole_errors > errors
        evidence = None
        if self._keeps_evidence:
            assert whole.evidence is not None
            of_whole = (resize_map(m, height, width) for m in whole.evidence.scale_maps)
            of_tiles = zip(of_whole, scale_maps, strict=True)
            evidence = whole.evidence._replace(
                scale_maps=np.stack([np.where(is_whole, w, t) for w, t in of_tiles]),
                smoothing=sigma,
            )
        anomalies = errors
        if has_head:
            anomalies = np.maximum(errors + maps[-1], resize_map(whole.anomaly_map, height, width))
        np.maximum(errors, whole_errors, out=errors)
        return Observation(
            float(errors.max()),
            anomalies,
            whole.distances,
            errors if has_head else None,
            evidence,
        )

    def _layers(self, observation: Observation) -> Float[np.ndarray, "layers h w"]:
        """What is merged of a tile: maps that are not smoothed, and the head's part."""
        assert observation.evidence is not None
        scale_maps: np.ndarray = observation.evidence.scale_maps
        if not self._keeps_evidence:
            scale_maps = scale_maps.mean(axis=0, keepdims=True)
        if observation.error_map is None:
            return scale_maps
        # Smoothed already, on its own grid: not further than the margin that is dropped.
        head = observation.anomaly_map - observation.error_map
        return np.concatenate([scale_maps, head[None]])

    def _batches(
        self, image: Strips, merged: Merged, region: Region | None
    ) -> Iterator[tuple[Sequence[tuple[int, int]], np.ndarray]]:
        """Cut the tiles that count, row by row of tiles, in batches of the engine's size."""
        size, count = self.tiling.size, self.engine.batch_size
        height, width = image.shape
        for row in self.tiling.offsets(height):
            columns = [
                column
                for column in self.tiling.offsets(width)
                if region is None or _counts(region, merged, row, column)
            ]
            if not columns:
                continue
            strip = image.rows(row, min(row + size, height))
            for first in range(0, len(columns), count):
                some = columns[first : first + count]
                tiles = np.stack([cut(strip, 0, column, size) for column in some])
                yield [(row, column) for column in some], tiles


def window_at_peak(
    pixels: Pixels, scored_map: Float[np.ndarray, "h3 w3"], size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "s s"]]:
    """Cut the highest place of a map out of its image, as large as a tile, for explanations.

    Args:
        pixels: the image.
        scored_map: its map of one value for a cell, perhaps minus infinity in places.
        size: of a tile.

    Returns:
        The pixels, and the part of the map there, at their size.
    """
    at = np.unravel_index(scored_map.argmax(), scored_map.shape)
    corner = [
        min(max(int(place) * CELL - side // 2, 0), max(length - side, 0)) // CELL * CELL
        for place, side, length in zip(at, size, pixels.shape[:2], strict=True)
    ]
    row, column = corner
    cells = tuple(
        slice(start // CELL, (start + side) // CELL)
        for start, side in zip(corner, size, strict=True)
    )
    part = scored_map[cells]
    whole = np.full([side // CELL for side in size], -np.inf, scored_map.dtype)
    whole[: part.shape[0], : part.shape[1]] = part
    return cut(pixels, row, column, size[0]), whole.repeat(CELL, axis=0).repeat(CELL, axis=1)


def _grown(
    region: Region | None, shape: tuple[int, int], sigma: float
) -> Bool[np.ndarray, "h w"] | None:
    """The region at the map's size, and as far around it as smoothing reaches."""
    if region is None:
        return None
    cells = resize_mask_nearest(region, *map_shape(shape))
    reach = 2 * int(4 * sigma + 0.5) + 1
    for axis in (0, 1):
        cells = ndimage.maximum_filter1d(cells, reach, axis, mode="constant")
    return cells


def _counts(region: Region, merged: Merged, row: int, column: int) -> bool:
    """Whether a tile has any weight in a region."""
    part = region[merged.window(row, column)]
    weights = merged.weights(row, column)[: part.shape[0], : part.shape[1]]
    return bool((part & (weights > 0)).any())
