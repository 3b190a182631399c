"""What each step of a training works on: images, or the encoder's maps of them, on its device."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from mambaad.config import TrainConfig
from mambaad.data.images import read_image
from mambaad.data.read_ahead import read_ahead, readers
from mambaad.data.transforms import Preprocess
from mambaad.training.tensor_cache import TensorCache
from mambaad.types import Sample


class StepInput(NamedTuple):
    """One step's: ``images`` b x 3 x h x w; or, if they are known, their ``features`` instead."""

    images: torch.Tensor | None
    features: list[torch.Tensor] | None


class Feed:
    """Reads each image once where it can, and keeps what is the same in every epoch.

    The encoder's maps are kept for one device, else the resized pixels, each where there is room.

    Args:
        samples: the training images; the others speak of them by index.
        config: where caches may go, the size, and for how many epochs and processes.
        folder: the run's, for caches on disk.
        device: where the steps compute. For a GPU, what comes next is laid out in pinned memory
            while the step before computes.

    Attributes:
        waited: seconds that the steps have waited for what they work on.
    """

    def __init__(
        self, samples: Sequence[Sample], config: TrainConfig, folder: Path, device: torch.device
    ) -> None:
        self.waited = 0.0
        self._samples = samples
        self._preprocess = Preprocess(*config.size)
        self._device = device
        self._is_gpu = device.type == "cuda"
        self._features: TensorCache | None = None
        self._pixels: TensorCache | None = None
        if config.epochs > 1:
            if config.cache_features != "off" and config.devices == 1:
                self._features = TensorCache(len(samples), folder, config.cache_features)
            if config.cache_images != "off":
                self._pixels = TensorCache(
                    len(samples),
                    folder,
                    config.cache_images,
                    what="images",
                    processes=config.devices,
                )

    def steps(self, batches: Sequence[Sequence[int]]) -> Generator[StepInput, None, None]:
        """Yield what each batch of an epoch, a list of indices, is.

        Raises:
            DataError: an image that cannot be read.
            RunError: no room for a cache that was asked for.
        """
        unknown = [i for batch in batches if not self._is_kept(batch) for i in batch]
        ahead = 2 * len(batches[0]) if batches else 1
        pixels = read_ahead(self._read, unknown, workers=readers(self._device), ahead=ahead)

        def prepare(batch: Sequence[int]) -> tuple[bool, list[torch.Tensor]]:
            return self._prepare(batch, pixels)

        prepared: Iterator[tuple[bool, list[torch.Tensor]]] = map(prepare, batches)
        laid_out = read_ahead(prepare, batches, workers=1, ahead=1) if self._is_gpu else None
        try:
            while True:
                started = time.perf_counter()
                found = next(laid_out or prepared, None)
                self.waited += time.perf_counter() - started
                if found is None:
                    return
                are_features, tensors = found
                here = [t.to(self._device, non_blocking=True) for t in tensors]
                if are_features:
                    yield StepInput(None, [rows.permute(0, 3, 1, 2) for rows in here])
                else:
                    yield StepInput(self._preprocess.normalise_batch(here[0]), None)
        finally:
            if laid_out:
                laid_out.close()
            pixels.close()

    def keep(self, indices: Sequence[int], features: Sequence[torch.Tensor]) -> None:
        """Keep the encoder's maps of a batch, if they are to be kept."""
        if self._features:
            rows = [f.detach().permute(0, 2, 3, 1) for f in features]
            self._features.put(indices, rows)

    def _is_kept(self, batch: Sequence[int]) -> bool:
        return any(cache and cache.has(batch) for cache in (self._features, self._pixels))

    def _read(self, index: int) -> torch.Tensor:
        pixels = self._preprocess.resize(read_image(self._samples[index].path))
        return torch.from_numpy(pixels.copy())

    def _prepare(
        self, batch: Sequence[int], pixels: Iterator[torch.Tensor]
    ) -> tuple[bool, list[torch.Tensor]]:
        """Whether the tensors are features, and the tensors, channels last."""
        if self._features and self._features.has(batch):
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
