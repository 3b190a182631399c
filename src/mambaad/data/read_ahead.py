"""Images, and batches of them, read ahead by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from mambaad.data.images import read_image
from mambaad.data.transforms import Preprocess
from mambaad.types import Batch, Sample

_BATCHES_AHEAD = 2
_MOST_READERS = 16
"""Threads that decode images for a GPU; more would wait for each other."""

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(
    read: Callable[[Item], Read], items: Iterable[Item], *, workers: int = 2, ahead: int = 2
) -> Generator[Read, None, None]:
    """Yield ``read(item)`` for each item, in order, while threads read the next ones.

    For images: Pillow does not hold the interpreter's lock while it decodes. Closing the iterator
    stops the threads; what ``read`` raises is raised in its item's place.
    """
    waiting: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def readers(device: torch.device) -> int:
    """How many threads should decode images for a device: a CPU has other work."""
    return min(os.cpu_count() or 1, _MOST_READERS) if device.type == "cuda" else 2


def load_batches(
    samples: Sequence[Sample],
    preprocess: Preprocess,
    batch_size: int,
    *,
    workers: int = 2,
) -> Generator[Batch, None, None]:
    """Yield the samples in their order, ``batch_size`` at a time, the last batch perhaps smaller.

    A few batches are decoded ahead; see :func:`read_ahead`.

    Raises:
        DataError: an image that cannot be read.
    """

    def load(sample: Sample) -> torch.Tensor:
        return preprocess(read_image(sample.path))

    images = read_ahead(load, samples, workers=workers, ahead=_BATCHES_AHEAD * batch_size)
    try:
        for first in range(0, len(samples), batch_size):
            batch = tuple(samples[first : first + batch_size])
            yield Batch(torch.stack([next(images) for _ in batch]), batch)
    finally:
        images.close()
