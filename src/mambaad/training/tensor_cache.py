"""A cache between epochs for tensors of each image: its pixels, or its features."""

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
from mambaad.training.shared_files import SharedFiles, SharedPlace

Place = Literal["device", "memory", "disk"]
SHARE = 0.5
"""Share of what is free of a place that a cache with place ``"auto"`` may take."""


_WHERE: dict[Place, str] = {
    "device": "on the device",
    "memory": "in memory",
    "disk": "on disk",
}


class TensorCache:
    """Tensors of each training image: on the device, in memory or on disk.

    Tensors are read as they were written, to the bit. On disk they are in a nameless file in the
    run folder, which is gone when the process ends.

    Args:
        images: number of images.
        folder: where a cache on disk goes.
        place: ``"device"`` (where the steps compute), ``"memory"``, ``"disk"``, or ``"auto"``: the
            first of them of which the cache takes at most half of what is free, else nowhere.
        what: kind of tensors, for messages; the setting is called ``cache_<what>``.
        processes: number of processes that keep as much each.
        shared: files for a cache that is one with that of other processes of this machine, in
            memory or on disk. Their steps must be such that none reads what another writes
            meanwhile: no image twice in an epoch.
        device: that of ``"device"``. ``"auto"`` chooses it if it is a GPU with memory of its own.
    """

    def __init__(
        self,
        images: int,
        folder: Path,
        place: Literal["auto", "device", "memory", "disk"] = "auto",
        *,
        what: Literal["features", "images"] = "features",
        processes: int = 1,
        shared: SharedFiles | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.place: Place | None = None
        self.bytes = 0
        self.has_no_room = False
        self._asked = place
        self._folder = folder
        self._what = what
        self._processes = processes
        self._shared = shared
        self._device = device or torch.device("cpu")
        self._known: Bool[np.ndarray, " images"] = np.zeros(images, dtype=bool)
        self._kept: list[torch.Tensor] = []

    def has(self, indices: Sequence[int]) -> bool:
        """Whether the tensors of all these images are kept."""
        return bool(self._known[list(indices)].all())

    def get(self, indices: Sequence[int]) -> list[torch.Tensor]:
        """Copy the tensors of some images, each b x ..."""
        return [kept[torch.tensor(indices, device=kept.device)] for kept in self._kept]

    def put(self, indices: Sequence[int], tensors: Sequence[torch.Tensor]) -> None:
        """Keep the tensors of some images, each b x ..., if there is room for those of all images.

        Raises:
            RunError: the place that was asked for has no room.
        """
        if not self._kept and not self.has_no_room:
            self._reserve(tensors)
        if self.place is None:
            return
        for kept, rows in zip(self._kept, tensors, strict=True):
            kept[torch.tensor(indices, device=kept.device)] = rows.to(kept.device)
        self._known[list(indices)] = True

    def _reserve(self, tensors: Sequence[torch.Tensor]) -> None:
        count = len(self._known)
        shapes = [(count, *rows.shape[1:]) for rows in tensors]
        sizes = [count * rows[0].numel() * rows.element_size() for rows in tensors]
        self.bytes = sum(sizes)
        try:
            if self._shared:
                self._share(self._shared, tensors, shapes, sizes)
                return
            self.place = self._choose()
            self._say()
            if self.place in ("device", "memory"):
                device = self._device if self.place == "device" else torch.device("cpu")
                self._kept = [
                    torch.empty(shape, dtype=rows.dtype, device=device)
                    for shape, rows in zip(shapes, tensors, strict=True)
                ]
            elif self.place == "disk":
                self._kept = [
                    _on_disk(self._folder, size).view(rows.dtype).view(shape)
                    for shape, size, rows in zip(shapes, sizes, tensors, strict=True)
                ]
        except (OSError, MemoryError, RuntimeError) as error:  # RuntimeError: torch's allocator
            reason = getattr(error, "strerror", None) or "not enough memory"
            raise RunError(
                f"--cache-{self._what} {self._asked}: no room for {self.bytes / 2**30:.1f} GiB "
                f"({reason}); free some, or use --cache-{self._what} off"
            ) from error

    def _share(
        self,
        shared: SharedFiles,
        tensors: Sequence[torch.Tensor],
        shapes: Sequence[tuple[int, ...]],
        sizes: Sequence[int],
    ) -> None:
        """Reserve the whole once for all processes: which images are known, and their tensors."""
        parts = [_aligned(size) for size in (len(self._known), *sizes)]
        with shared.decided(self._choose_shared) as (is_first, place):
            self.place = place
            if place is not None:
                known, *kept = torch.split(shared.mapped(place, sum(parts)), parts)
                self._known = known[: len(self._known)].numpy().view(bool)
                self._kept = [
                    part[:size].view(rows.dtype).view(shape)
                    for part, size, rows, shape in zip(kept, sizes, tensors, shapes, strict=True)
                ]
            if is_first:
                self._say()
        self.has_no_room = place is None

    def _say(self) -> None:
        self.has_no_room = self.place is None
        where = _WHERE[self.place] if self.place else "too much to keep"
        shared = ", for all processes of this machine" if self.place and self._shared else ""
        what = "" if self._what == "images" else f"{self._what} of "
        say(f"{what}{len(self._known)} images: {self.bytes / 2**30:.2f} GiB, {where}{shared}")

    def _choose_shared(self) -> SharedPlace | None:
        place = self._choose()
        return "memory" if place == "device" else place

    def _choose(self) -> Place | None:
        if self._asked != "auto":
            return self._asked
        if self._device.type == "cuda" and not self._shared:
            free, _ = torch.cuda.mem_get_info(self._device)
            if self.bytes <= SHARE * free:
                return "device"
        share = SHARE / self._processes
        if self.bytes <= share * psutil.virtual_memory().available:
            return "memory"
        if self.bytes <= share * shutil.disk_usage(self._folder).free:
            return "disk"
        return None


def _aligned(size: int) -> int:
    """The bytes that ``size`` bytes take, so that what comes next begins where any type may."""
    return -(-size // 64) * 64


def _on_disk(folder: Path, size: int) -> torch.Tensor:
    """Map ``size`` bytes of a file that is gone when they are no longer used."""
    # Where a file needs a name at first, one that is swept after a kill.
    with tempfile.TemporaryFile(dir=folder, prefix=".", suffix=TEMPORARY) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows here, not in a signal
        else:
            file.truncate(size)
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,)))
