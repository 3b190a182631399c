"""The encoder's maps of the training images, kept from one epoch to the next."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from jaxtyping import Bool

from mambaad.errors import RunError
from mambaad.files import TEMPORARY
from mambaad.progress import say

Place = Literal["memory", "disk"]
SHARE = 0.5
"""Of the free memory, or of the free disk, that the cache may take when it chooses its place."""


class FeatureCache:
    """Maps that a frozen encoder without augmentation would compute anew in every epoch.

    What is read is what was written, to the bit. On disk it is a file without a name in the run
    folder, which ends with the process.

    Args:
        images: how many images there are to keep maps of.
        folder: where a cache on disk goes.
        place: ``"memory"``, ``"disk"``, or ``"auto"``: memory if the cache takes at most half of
            what is free, else disk on the same condition, else nowhere.
    """

    def __init__(
        self, images: int, folder: Path, place: Literal["auto", "memory", "disk"] = "auto"
    ) -> None:
        self.place: Place | None = None
        self.bytes = 0
        self._asked = place
        self._folder = folder
        self._known: Bool[np.ndarray, " images"] = np.zeros(images, dtype=bool)
        self._maps: list[torch.Tensor] = []

    def has(self, indices: Sequence[int]) -> bool:
        """Whether the maps of all these images are here."""
        return bool(self._known[list(indices)].all())

    def get(self, indices: Sequence[int]) -> list[torch.Tensor]:
        """The maps of some images, per scale b x c_i x h_i x w_i, channels last in memory."""
        chosen = torch.tensor(indices)
        return [maps[chosen].permute(0, 3, 1, 2) for maps in self._maps]

    def put(self, indices: Sequence[int], features: Sequence[torch.Tensor]) -> None:
        """Keep the maps of some images, if there is a place for all images' maps.

        Raises:
            RunError: the place that was asked for has no room.
        """
        rows = [f.detach().permute(0, 2, 3, 1) for f in features]
        if not self._maps:
            self._reserve(rows)
        if self.place is None:
            return
        chosen = torch.tensor(indices)
        for maps, row in zip(self._maps, rows, strict=True):
            maps[chosen] = row.to(maps.device)
        self._known[list(indices)] = True

    def _reserve(self, rows: Sequence[torch.Tensor]) -> None:
        count = len(self._known)
        shapes = [(count, *row.shape[1:]) for row in rows]
        sizes = [count * row[0].numel() * row.element_size() for row in rows]
        self.bytes = sum(sizes)
        self.place = self._choose()
        where = f"in {self.place}" if self.place else "too much to keep"
        say(f"features of {count} images: {self.bytes / 2**30:.2f} GiB, {where}")
        try:
            if self.place == "memory":
                self._maps = [
                    torch.empty(shape, dtype=row.dtype)
                    for shape, row in zip(shapes, rows, strict=True)
                ]
            elif self.place == "disk":
                self._maps = [
                    _on_disk(self._folder, size).view(row.dtype).view(shape)
                    for shape, size, row in zip(shapes, sizes, rows, strict=True)
                ]
        except (OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch's allocator
            reason = getattr(error, "strerror", None) or "not enough memory"
            raise RunError(
                f"--cache-features {self._asked}: no room for {self.bytes / 2**30:.1f} GiB "
                f"({reason}); free some, or give --cache-features off"
            ) from error

    def _choose(self) -> Place | None:
        if self._asked != "auto":
            return self._asked
        if self.bytes <= SHARE * psutil.virtual_memory().available:
            return "memory"
        if self.bytes <= SHARE * shutil.disk_usage(self._folder).free:
            return "disk"
        return None


def _on_disk(folder: Path, size: int) -> torch.Tensor:
    """``size`` bytes in a file that is gone when nobody uses them any more."""
    with tempfile.TemporaryFile(dir=folder, suffix=TEMPORARY) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows here, not in a signal
        else:
            file.truncate(size)
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,)))
