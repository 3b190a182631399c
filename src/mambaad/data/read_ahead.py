"""Reading ahead by threads: of items of any kind, and of images in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from mambaad.data.images import read_sample_image, resize_image
from mambaad.types import Sample

_BATCHES_AHEAD = 2
_MOST_READERS = 16
"""The most threads that decode images for a GPU: more would wait for each other."""

Item = TypeVar("Item")
Read = TypeVar("Read")


class PixelBatch(NamedTuple):
    """Images resized to one size, 8-bit RGB, and the samples that they are of."""

    pixels: UInt8[np.ndarray, "b h w 3"]
    samples: tuple[Sample, ...]


def read_ahead(
    read: Callable[[Item], Read],
    items: Iterable[Item],
    *,
    workers: int = 2,
    ahead: int = 2,
    weigh: Callable[[Read], int] = lambda read: 0,
    limit: int = 0,
) -> Generator[Read, None, None]:
    """Yield ``read(item)`` for each item, in order, while threads read the next ones.

    Threads suit images, as Pillow releases the interpreter's lock while it decodes. Closing the
    iterator stops the threads; what ``read`` raises is raised in its item's place.

    Args:
        read: called with an item, by any of the threads.
        items: read in order.
        workers: the number of threads.
        ahead: how many items are read beyond the one that is yielded.
        weigh: gives the weight of what was read, such as its bytes.
        limit: of the weight of all items that wait, if each is as heavy as the one before them: no
            more are read ahead then, so that they fit into memory.
    """
    waiting: deque[Future[Read]] = deque()
    weight: int | None = None  # of the item read last
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if weight is None and len(waiting) >= workers:
                    weight = weigh(waiting[0].result()) if not waiting[0].exception() else None
                while len(waiting) > ahead or (waiting and len(waiting) * (weight or 0) > limit):
                    found = waiting.popleft().result()
                    weight = weigh(found)
                    yield found
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def reader_threads(is_gpu: bool) -> int:
    """Threads to decode images with: few beside a CPU that computes, many for a GPU."""
    return min(os.cpu_count() or 1, _MOST_READERS) if is_gpu else 2


def read_batches(
    samples: Sequence[Sample],
    size: tuple[int, int],
    batch_size: int,
    *,
    workers: int = 2,
) -> Generator[PixelBatch, None, None]:
    """Yield the samples in their order, ``batch_size`` at a time, the last batch perhaps smaller.

    A few batches are decoded ahead; see :func:`read_ahead`. The arrays may be written to.

    Raises:
        DataError: an image that cannot be read.
    """

    def load(sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        return resize_image(read_sample_image(sample), size)

    images = read_ahead(load, samples, workers=workers, ahead=_BATCHES_AHEAD * batch_size)
    try:
        for first in range(0, len(samples), batch_size):
            batch = tuple(samples[first : first + batch_size])
            yield PixelBatch(np.stack([next(images) for _ in batch]), batch)
    finally:
        images.close()
