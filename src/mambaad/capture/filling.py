"""A folder that fills: each new image in it is given once, when it is whole.

A file is read when it has not changed for some time, so that one that is written slowly is whole.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from mambaad.capture.whole import is_whole
from mambaad.data.walk import IMAGE_SUFFIXES
from mambaad.files import read_regular

_UNFINISHED_SECONDS = 30.0  # that an image without an end is waited for

Stamp = tuple[int, int]
"""A file's size, and the time of its last change in nanoseconds."""


class FillingFolder:
    """Finds the images of a folder that are whole; folders inside are left alone.

    Used by one thread at a time.

    Args:
        folder: the folder.
        settle: seconds that a file must not have changed before it is read.
        max_bytes: larger files cannot be read.
    """

    def __init__(self, folder: Path, settle: float, max_bytes: int) -> None:
        self._folder, self._settle, self._max_bytes = folder, settle, max_bytes
        self._since: dict[str, tuple[Stamp, float]] = {}  # a name's stamp, and when it was seen
        self._done: dict[str, Stamp] = {}

    @property
    def waiting(self) -> int:
        """How many files have been seen, and not been finished."""
        return len(self._since)

    def settled(self) -> list[tuple[str, Stamp]]:
        """List the files that have not changed for a while, oldest first.

        Raises:
            OSError: the folder is gone.
        """
        stamps = self._stamps()
        moment = time.monotonic()
        for name in self._since.keys() - stamps.keys():
            del self._since[name]
        for name in self._done.keys() - stamps.keys():
            del self._done[name]
        found = []
        for name, stamp in stamps.items():
            if self._done.get(name) == stamp:
                continue
            if self._since.get(name, (None, 0))[0] != stamp:
                self._since[name] = (stamp, moment)
            elif moment - self._since[name][1] >= self._settle:
                found.append((name, stamp))
        return found

    def read(self, name: str, stamp: Stamp) -> bytes | None:
        """Read a settled file; None for one that is gone, has changed, or has no end yet.

        Raises:
            OSError: it cannot be read, or is too large.
        """
        path = self._folder / name
        try:
            content = read_regular(path, self._max_bytes)
            after = path.stat()
        except FileNotFoundError:  # removed meanwhile
            return None
        if (after.st_size, after.st_mtime_ns) != stamp:
            return None
        waited = time.monotonic() - self._since[name][1]
        if not is_whole(content) and waited < _UNFINISHED_SECONDS:
            return None
        return content

    def finish(self, name: str, stamp: Stamp) -> None:
        """Give a file no more, unless it changes."""
        self._done[name] = stamp
        self._since.pop(name, None)

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                suffix = Path(entry.name).suffix.lower()
                if suffix in IMAGE_SUFFIXES and not entry.name.startswith("."):
                    try:
                        if entry.is_file():
                            stat = entry.stat()
                            found[entry.name] = (stat.st_size, stat.st_mtime_ns)
                    except OSError:  # removed meanwhile
                        continue
        return dict(sorted(found.items(), key=lambda one: one[1][1]))
