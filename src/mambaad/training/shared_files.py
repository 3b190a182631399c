"""Files without names that the processes of one machine share, for what they keep between epochs.

Each is gone when the last process that has it open ends, however that is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import distributed

from mambaad.files import TEMPORARY

if sys.platform == "linux":
    import fcntl

SharedPlace = Literal["memory", "disk"]
_PLACES: tuple[SharedPlace | None, ...] = ("memory", "disk", None)
_HEADER = 4096  # of the file in memory; its first byte says what was decided


class SharedFiles:
    """A file in memory and one on disk, of which one is used: as the first process decides.

    Args:
        memory: descriptor of the one in memory.
        disk: descriptor of the one on disk; None where it cannot be made.
    """

    def __init__(self, memory: int, disk: int | None) -> None:
        self._memory = memory
        self._disk = disk

    @contextmanager
    def decided(
        self, choose: Callable[[], SharedPlace | None]
    ) -> Iterator[tuple[bool, SharedPlace | None]]:
        """Yield whether this process decides, and the place (None: nowhere).

        Others wait meanwhile; an error within leaves it undecided.

        Args:
            choose: asked by the first process.
        """
        fcntl.flock(self._memory, fcntl.LOCK_EX)
        try:
            header = os.pread(self._memory, 1, 0)
            number = header[0] if header else 0
            place = _PLACES[number - 1] if number else choose()
            yield number == 0, place
            os.pwrite(self._memory, bytes([1 + _PLACES.index(place)]), 0)
        finally:
            fcntl.flock(self._memory, fcntl.LOCK_UN)

    def mapped(self, place: SharedPlace, size: int) -> torch.Tensor:
        """Map ``size`` bytes, zero at first, which all processes see (OSError: no room)."""
        if place == "memory":
            os.ftruncate(self._memory, _HEADER + size)
            descriptor, offset = self._memory, _HEADER
        elif self._disk is None:
            raise OSError(30, "the run folder cannot be written")
        else:
            os.posix_fallocate(self._disk, 0, size)  # a full disk shows here, not in a signal
            descriptor, offset = self._disk, 0
        with os.fdopen(os.dup(descriptor), "r+b") as file:
            return torch.from_numpy(np.memmap(file, np.uint8, "r+", offset, shape=(size,)))

    def __del__(self) -> None:
        for descriptor in (self._memory, self._disk):
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)


def can_share() -> bool:
    """Whether processes that train together can share files here."""
    return (
        sys.platform == "linux"
        and hasattr(os, "memfd_create")
        and distributed.is_available()
        and distributed.is_initialized()
    )


def open_shared_files(folder: Path) -> SharedFiles:
    """Make files that the processes of this machine share; all that train together call this.

    A process that cannot open the others' (as in a container of its own) has its own.

    Args:
        folder: where the one on disk goes, on the machine that has the folder; else, and on
            others, the one for temporary files.
    """
    own = os.memfd_create("mambaad"), _open_on_disk(folder)
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    machine = Path("/proc/sys/kernel/random/boot_id").read_text(), namespace
    everyones: list[tuple[object, int, tuple[int, int | None]]]
    everyones = [(None, 0, (0, None))] * distributed.get_world_size()
    distributed.all_gather_object(everyones, (machine, os.getpid(), own))
    _, process, files = next(found for found in everyones if found[0] == machine)
    shared: tuple[int, int | None] | None = None
    if process != os.getpid():
        with suppress(OSError):
            memory, disk = (f and os.open(f"/proc/{process}/fd/{f}", os.O_RDWR) for f in files)
            assert memory is not None
            shared = memory, disk
    distributed.barrier()  # the first one's descriptors are open until here
    if shared is None:
        return SharedFiles(*own)
    for descriptor in own:
        if descriptor is not None:
            os.close(descriptor)
    return SharedFiles(*shared)


def _open_on_disk(folder: Path) -> int | None:
    place = folder if folder.is_dir() else Path(tempfile.gettempdir())
    try:
        # Where a file needs a name at first, one that is swept after a kill.
        with tempfile.TemporaryFile(dir=place, prefix=".", suffix=TEMPORARY) as file:
            return os.dup(file.fileno())
    except OSError:
        return None
