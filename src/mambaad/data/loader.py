"""Batches of images, read ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from mambaad.data.images import read_image
from mambaad.data.transforms import Preprocess
from mambaad.types import Batch, Sample

_BATCHES_AHEAD = 2


def load_batches(
    samples: Sequence[Sample],
    preprocess: Preprocess,
    batch_size: int,
    *,
    workers: int = 2,
) -> Generator[Batch, None, None]:
    """Yield the samples in their order, ``batch_size`` at a time, the last batch perhaps smaller.

    Threads decode a few batches ahead (Pillow does not hold the interpreter's lock); closing the
    iterator stops them.

    Raises:
        DataError: an image that cannot be read.
    """

    def load(sample: Sample) -> torch.Tensor:
        return preprocess(read_image(sample.path))

    starts = range(0, len(samples), batch_size)
    batches = [tuple(samples[i : i + batch_size]) for i in starts]
    for batch, images in _ahead(load, batches, workers):
        yield Batch(torch.stack(images), batch)


def _ahead(
    load: Callable[[Sample], torch.Tensor], batches: Sequence[tuple[Sample, ...]], workers: int
) -> Iterator[tuple[tuple[Sample, ...], list[torch.Tensor]]]:
    waiting: deque[tuple[tuple[Sample, ...], list[Future[torch.Tensor]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for batch in batches:
                waiting.append((batch, [pool.submit(load, sample) for sample in batch]))
                if len(waiting) > _BATCHES_AHEAD:
                    ready, futures = waiting.popleft()
                    yield ready, [future.result() for future in futures]
            while waiting:
                ready, futures = waiting.popleft()
                yield ready, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
