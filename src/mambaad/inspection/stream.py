"""The inspection stream: the one loop that passes every image to the engine.

Files are decoded ahead by threads, resized, and passed to the engine in batches. Consumers of the
stream (predict, evaluate, calibrate, reports) add each image to their sinks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from mambaad.data.checks import MaskSizeError, check_images, read_sample
from mambaad.data.images import AUTO, read_image, resize_image
from mambaad.data.read_ahead import read_ahead
from mambaad.data.strips import ArrayStrips, FileStrips, open_strips, reduced
from mambaad.errors import ConfigError, DataError, MambaADError, RunError
from mambaad.inference.engine import Engine, Observation
from mambaad.inspection.quality import Quality, measure_quality
from mambaad.inspection.tiles import TiledEngine
from mambaad.progress import warn
from mambaad.types import ProductClass, Reading, Sample

Pixels = UInt8[np.ndarray, "h w 3"]
Region = Bool[np.ndarray, "h w"]

MOST_WAITING = 2**28
"""Bytes of decoded images from which on no more are read ahead, or put into one batch."""


@dataclass(frozen=True)
class Item:
    """An image to inspect, and what is known about it.

    ``image``: a file, or 8-bit RGB pixels, h x w x 3, of any size. ``product``: its class, if the
    decision may know it. ``sample``: its entry in a data set, whose mask is then read too, and
    which says how its pixels are read; ``reading`` says it of other files.
    """

    image: Path | Pixels
    product: str | None = None
    sample: Sample | None = None
    reading: Reading = AUTO

    @classmethod
    def of(cls, sample: Sample, product: str | None = None) -> Item:
        """Make an item of a data set's entry."""
        return cls(sample.path, product, sample)


@dataclass(frozen=True)
class Observed:
    """An image with its observation, or with the ``error`` that prevented one.

    ``pixels``: the original image, 8-bit RGB; None if it could not be read. ``mask``: of the
    sample's defect, at the image's size; None without one. ``turned_apart``: whether image and
    mask may not lie one on the other (:class:`mambaad.data.checks.Joined`). ``strips``: of an image
    too large to be kept, of which ``pixels`` are a smaller one (:mod:`mambaad.data.strips`).
    """

    item: Item
    pixels: Pixels | None = None
    mask: Bool[np.ndarray, "h w"] | None = None
    quality: Quality | None = None
    observation: Observation | None = None
    error: MambaADError | None = None
    turned_apart: bool = False
    strips: FileStrips | None = None

    @property
    def result(self) -> tuple[Observation, Quality]:
        """The observation and the image's quality; raises the error if there is one."""
        if self.error:
            raise self.error
        assert self.observation is not None  # set whenever there is no error
        assert self.quality is not None
        return self.observation, self.quality


RegionOf = Callable[[Item, Observation], Region | None]
"""Where an image is inspected, given the observation of the whole; None: everywhere."""


def everywhere(item: Item, whole: Observation) -> Region | None:
    """Every image is inspected everywhere (a :data:`RegionOf`)."""
    return None


def observe_stream(
    engine: Engine,
    items: Iterable[Item],
    *,
    batch_size: int = 1,
    is_live: bool = True,
    region_of: RegionOf = everywhere,
) -> Iterator[Observed]:
    """Observe images in their order.

    Files are decoded ahead. The observation of pixels is yielded before the next item is requested,
    as a camera may wait for it; unless ``is_live`` is False: then they are observed as files are.

    Args:
        engine: runs the model.
        items: the images, requested as they are needed.
        batch_size: how many files are observed together: 1 for the lowest latency, the engine's own
            for the highest throughput. On a GPU, values differ by rounding between batch sizes.
        is_live: whether an item of pixels comes only after the observation of the one before.
        region_of: says where an image is inspected; tiles elsewhere are not looked at.

    Yields:
        Each image once; with an error if it cannot be read (DataError) or the model's values are
        not finite (RunError).

    Raises:
        ConfigError: pixels of another shape or type.
        DataError: a mask of another size than its image: the data set is wrong as a whole.
    """

    def prepare(item: Item) -> tuple[Observed, Pixels | None]:
        return _prepare(item, engine)

    def is_alone(item: Item) -> bool:
        return is_live and isinstance(item.image, np.ndarray)

    for are_alone, group in groupby(items, is_alone):
        if are_alone:
            for prepared in map(prepare, group):
                yield from _observe(engine, [prepared], region_of)
            continue
        ahead = max(2, batch_size)
        files = read_ahead(
            prepare,
            group,
            workers=engine.reads_ahead,
            ahead=ahead,
            weigh=_weight,
            limit=MOST_WAITING,
        )
        with closing(files) as read:
            while batch := _next_batch(read, batch_size):
                yield from _observe(engine, batch, region_of)


def observe_one(engine: Engine, item: Item, region_of: RegionOf = everywhere) -> Observed:
    """Observe one image, in the caller's thread; see :func:`observe_stream`."""
    (observed,) = _observe(engine, [_prepare(item, engine)], region_of)
    return observed


def readable(
    stream: Iterable[Observed], classes: Sequence[ProductClass], skip_unreadable: bool
) -> Iterator[Observed]:
    """Yield the images of a stream that could be observed.

    Args:
        stream: the images of ``classes``.
        classes: decoded again if an image cannot be read, so that the error counts all of them.
        skip_unreadable: report unreadable images and continue, instead of stopping.

    Raises:
        DataError: images that cannot be read.
        RunError: the model's values are not finite.
    """
    for image in stream:
        if isinstance(image.error, DataError):
            if not skip_unreadable:
                check_images(classes)
                raise image.error  # if the file has been repaired meanwhile
            warn(f"left out: {image.error}")
            continue
        image.result  # noqa: B018  # raises any other error
        yield image


def _weight(prepared: tuple[Observed, Pixels | None]) -> int:
    pixels = prepared[0].pixels
    return 0 if pixels is None else pixels.size


def _next_batch(
    read: Iterator[tuple[Observed, Pixels | None]], batch_size: int
) -> list[tuple[Observed, Pixels | None]]:
    """Take the next images: fewer than ``batch_size`` where they are large; none at the end."""
    batch: list[tuple[Observed, Pixels | None]] = []
    for prepared in islice(read, batch_size):
        batch.append(prepared)
        if sum(map(_weight, batch)) > MOST_WAITING:
            break
    return batch


def _prepare(item: Item, engine: Engine) -> tuple[Observed, Pixels | None]:
    """Read an image; returns it unobserved, and its pixels at the engine's size."""
    joined = strips = None
    if isinstance(item.image, np.ndarray):
        pixels = _check_pixels(item.image)
    else:
        try:
            if isinstance(engine, TiledEngine) and (large := _large(item)):
                pixels, strips = large
            elif item.sample is None:
                pixels = read_image(item.image, item.reading)
            else:
                pixels, joined = read_sample(item.sample)
        except MaskSizeError:
            raise
        except DataError as error:
            return Observed(item, error=error), None
    resized = resize_image(pixels, engine.size)
    quality = measure_quality(resized, strips.shape if strips else pixels.shape[:2])
    if joined is None:
        return Observed(item, pixels, quality=quality, strips=strips), resized
    found = Observed(item, pixels, joined.marked, quality, turned_apart=joined.turned_apart)
    return found, resized


def _large(item: Item) -> tuple[Pixels, FileStrips] | None:
    """What is kept of an image that is read by strips, and its strips; None of any other."""
    sample = item.sample
    if not isinstance(item.image, Path) or (sample and (sample.held or sample.mask_path)):
        return None
    reading = sample.reading if sample else item.reading
    first = open_strips(item.image, reading)
    if first is None:
        return None
    pixels = reduced(first)
    again = open_strips(item.image, reading)
    if again is None or again.shape != first.shape:
        raise DataError(f"{item.image} has changed while it was read; inspect it again")
    return pixels, again


def _check_pixels(pixels: np.ndarray) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ConfigError(
            f"image has shape {pixels.shape} and type {pixels.dtype}, expected height x "
            "width x 3 of uint8, RGB; convert it"
        )
    return pixels


def _observe(
    engine: Engine, batch: list[tuple[Observed, Pixels | None]], region_of: RegionOf
) -> Iterator[Observed]:
    readable = [resized for _, resized in batch if resized is not None]
    observations = iter(engine.observe(np.stack(readable)) if readable else [])
    for image, resized in batch:
        if resized is None:
            yield image
            continue
        observation = next(observations)
        if isinstance(engine, TiledEngine):
            assert image.pixels is not None  # as it was resized
            region = region_of(image.item, observation)
            strips = image.strips or ArrayStrips(image.pixels)
            try:
                observation = engine.with_tiles(observation, strips, region)
            except DataError as error:  # of a file that is read while it is observed
                yield replace(image, error=error)
                continue
        yield _with_observation(image, observation)


def _with_observation(image: Observed, observation: Observation) -> Observed:
    if np.isfinite(observation.anomaly_map).all() and np.isfinite(observation.distances).all():
        return replace(image, observation=observation)
    error = RunError(
        "the model's output has values that are not finite, expected numbers; train again, "
        "restore the run from a copy, or use --precision float32"
    )
    return replace(image, error=error)
