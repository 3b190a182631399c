"""The batches of each training step: images, or the encoder's maps of them, on its device."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mambaad.config import TrainConfig
from mambaad.data.images import read_sample_image, resize_image
from mambaad.data.read_ahead import read_ahead, reader_threads
from mambaad.models.normalise import normalise
from mambaad.training.shared_files import can_share, open_shared_files
from mambaad.training.tensor_cache import TensorCache
from mambaad.types import Sample


class TrainingBatch(NamedTuple):
    """One step's images on its device, or where they are known the encoder's maps instead.

    ``indices``: of the b training images. ``images``: b x 3 x h x w, float32, RGB with ImageNet's
    mean and standard deviation. ``features``: per scale b x c_i x h_i x w_i. One of the two is
    None.
    """

    indices: Sequence[int]
    images: torch.Tensor | None
    features: list[torch.Tensor] | None


_Prepared = tuple[bool, "list[torch.Tensor] | None"]
"""Whether a batch is features, and its tensors; None if the device has them."""


class TrainingBatches:
    """Loads the batches of every epoch; reads each image once where it can.

    The encoder's maps are kept where there is a cache for them, else the resized pixels.

    Args:
        samples: the training images, which the other arguments give by index.
        size: height and width to which they are resized.
        device: where the steps compute. For a GPU, the next batch is prepared in pinned memory
            while the step before computes.
        features: a cache for the encoder's maps, or None.
        pixels: a cache for the resized images, or None.

    Attributes:
        samples: as given.
        waited: seconds that the steps have waited for their batches.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        device: torch.device,
        *,
        features: TensorCache | None = None,
        pixels: TensorCache | None = None,
    ) -> None:
        self.waited = 0.0
        self.samples = samples
        self._size = size
        self._device = device
        self._is_gpu = device.type == "cuda"
        self._features = features
        self._pixels = pixels

    def load(self, batches: Sequence[Sequence[int]]) -> Generator[TrainingBatch, None, None]:
        """Yield the batches of an epoch, each given by the indices of its images.

        Raises:
            DataError: an image that cannot be read.
            RunError: no room for a cache that was asked for.
        """
        unknown = [i for batch in batches if not self._is_kept(batch) for i in batch]
        ahead = 2 * len(batches[0]) if batches else 1
        pixels = read_ahead(self._read, unknown, workers=reader_threads(self._is_gpu), ahead=ahead)

        def prepare(batch: Sequence[int]) -> _Prepared:
            return self._prepare(batch, pixels)

        in_turn: Iterator[_Prepared] = map(prepare, batches)
        ahead_of_steps = read_ahead(prepare, batches, workers=1, ahead=1) if self._is_gpu else None
        prepared = ahead_of_steps or in_turn
        try:
            for indices in batches:
                started = time.perf_counter()
                are_features, tensors = next(prepared)
                self.waited += time.perf_counter() - started
                if tensors is None:
                    assert self._features is not None  # they are on the device already
                    tensors = self._features.get(indices)
                here = [t.to(self._device, non_blocking=True) for t in tensors]
                if are_features:
                    yield TrainingBatch(indices, None, [rows.permute(0, 3, 1, 2) for rows in here])
                else:
                    yield TrainingBatch(indices, normalise(here[0]), None)
        finally:
            if ahead_of_steps:
                ahead_of_steps.close()
            pixels.close()

    def keep(self, indices: Sequence[int], features: Sequence[torch.Tensor]) -> None:
        """Keep the encoder's maps of a batch, b x c_i x h_i x w_i, if there is a cache for them."""
        if self._features:
            rows = [f.detach().permute(0, 2, 3, 1) for f in features]
            self._features.put(indices, rows)

    def _is_kept(self, batch: Sequence[int]) -> bool:
        return any(cache and cache.has(batch) for cache in (self._features, self._pixels))

    def _read(self, index: int) -> torch.Tensor:
        pixels = resize_image(read_sample_image(self.samples[index]), self._size)
        return torch.from_numpy(pixels.copy())

    def _prepare(self, batch: Sequence[int], pixels: Iterator[torch.Tensor]) -> _Prepared:
        """Take from a cache or read: whether it is features, and the tensors, channels last."""
        if self._features and self._features.has(batch):
            if self._features.place == "device":
                return True, None  # by the thread that computes: nothing is to be transferred
            return True, self._pinned(self._features.get(batch))
        if self._pixels and self._pixels.has(batch):
            return False, self._pinned(self._pixels.get(batch))
        read = torch.stack([next(pixels) for _ in batch])
        # Where features are kept, pixels are needed once only.
        if self._pixels and (not self._features or self._features.has_no_room):
            self._pixels.put(batch, [read])
        return False, self._pinned([read])

    def _pinned(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return [t.pin_memory() for t in tensors] if self._is_gpu else tensors


def make_batches(
    samples: Sequence[Sample], config: TrainConfig, folder: Path, device: torch.device
) -> TrainingBatches:
    """Make the batches of a run, with the caches that its configuration allows.

    The processes of one machine share them: which images each sees changes from epoch to epoch. The
    machines do not: each keeps what its processes have seen. Where processes cannot share, and on
    Linux they can, each keeps pixels only. A single epoch keeps nothing.

    All processes that train together call this.

    Args:
        samples: the training images.
        config: the size, where caches may go, and for how many epochs and processes.
        folder: of the run, for caches on disk.
        device: where the steps compute.
    """
    features: TensorCache | None = None
    pixels: TensorCache | None = None
    count, shares = len(samples), config.devices > 1 and can_share()
    if config.epochs > 1:
        if config.cache_features != "off" and (config.devices == 1 or shares):
            files = open_shared_files(folder) if shares else None
            features = TensorCache(
                count, folder, config.cache_features, shared=files, device=device
            )
        if config.cache_images != "off":
            files = open_shared_files(folder) if shares else None
            processes = 1 if shares else config.devices
            pixels = TensorCache(
                count,
                folder,
                config.cache_images,
                what="images",
                processes=processes,
                shared=files,
            )
    return TrainingBatches(samples, config.size, device, features=features, pixels=pixels)
