"""A watched folder: each new image in it is inspected exactly once.

A file is read when it has not changed for some time, so that one that is written slowly is whole.
Its key is its name, size, time and content: after a restart what was inspected is known by it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from watchfiles import awatch

from mambaad.data.walk import IMAGE_SUFFIXES
from mambaad.errors import ConfigError
from mambaad.files import printable, read_regular
from mambaad.progress import say
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sources.source import Capture
from mambaad.serve.sources.whole import is_whole

DONE, REFUSED = "inspected", "refused"
"""Folders that files are moved to."""
_LOOK_MS = 500
_UNFINISHED_SECONDS = 30.0  # that an image without an end is waited for

_Stamp = tuple[int, int]  # a file's size and time


class WatchedFolder:
    """Gives the files of a folder as they come; folders inside are left alone.

    Args:
        settings: which folder, when a file is whole, and whether it is moved afterwards.

    Raises:
        ConfigError: there is no such folder.
    """

    kind = "folder"

    def __init__(self, settings: ServeSettings) -> None:
        assert settings.watch is not None  # else there is none
        self._folder, self._settings = settings.watch, settings
        self.name = settings.watch.name
        if not self._folder.is_dir():
            raise ConfigError(f"--watch: {self._folder} is not a folder; create it")
        self._since: dict[str, tuple[_Stamp, float]] = {}  # a name's stamp, and its time
        self._done: dict[str, _Stamp] = {}
        self._given: tuple[str, _Stamp] | None = None
        self._inspected = self._refused = 0

    def state(self) -> dict[str, Any]:
        """How many files wait, were accepted, and were not."""
        return {
            "waiting": len(self._since),
            "inspected": self._inspected,
            "refused": self._refused,
        }

    async def captures(self) -> AsyncGenerator[Capture, None]:
        """Give each file that is whole (OSError, RuntimeError: the folder is gone)."""
        async for _ in awatch(
            self._folder, recursive=False, rust_timeout=_LOOK_MS, yield_on_timeout=True
        ):
            for name, stamp in await self._settled():
                capture = await self._read(name, stamp)
                if capture is not None:
                    self._given = name, stamp
                    yield capture

    async def accepted(self, capture: Capture) -> None:
        """Leave the file, or move it."""
        self._inspected += 1
        if self._given is not None:
            await self._finish(*self._given, DONE)

    async def refused(self, capture: Capture, reason: str) -> None:
        """Leave the file, or move it to the others that were refused."""
        self._refused += 1
        if self._given is not None:
            await self._finish(*self._given, REFUSED)

    async def _settled(self) -> list[tuple[str, _Stamp]]:
        """The files that have not changed for a while, oldest first."""
        stamps = await asyncio.to_thread(self._stamps)
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
            elif moment - self._since[name][1] >= self._settings.watch_settle:
                found.append((name, stamp))
        return found

    def _stamps(self) -> dict[str, _Stamp]:
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

    async def _read(self, name: str, stamp: _Stamp) -> Capture | None:
        """A file that is whole; None for one that is not, or that cannot be read."""
        path = self._folder / name
        try:
            content = await asyncio.to_thread(read_regular, path, self._settings.max_bytes)
            after = await asyncio.to_thread(path.stat)
        except FileNotFoundError:  # removed meanwhile
            return None
        except OSError as error:
            self._refused += 1
            say(f"{printable(name)} was not inspected: {error}")
            await self._finish(name, stamp, REFUSED)
            return None
        if (after.st_size, after.st_mtime_ns) != stamp:
            return None
        waited = time.monotonic() - self._since[name][1]
        if not is_whole(content) and waited < _UNFINISHED_SECONDS:
            return None
        named = repr((name, stamp)).encode("utf-8", "surrogatepass")
        key = hashlib.sha256(named + content).hexdigest()
        return Capture(content, key=key, file_name=name)

    async def _finish(self, name: str, stamp: _Stamp, to: str) -> None:
        self._done[name] = stamp
        self._since.pop(name, None)
        if self._settings.watch_then == "move":
            await asyncio.to_thread(self._move, self._folder / name, to)

    def _move(self, path: Path, to: str) -> None:
        target = self._folder / to / path.name
        number = 1
        try:
            target.parent.mkdir(exist_ok=True)
            while target.exists():
                target = target.with_name(f"{path.stem}-{number}{path.suffix}")
                number += 1
            path.rename(target)
        except OSError as error:
            say(f"{path} cannot be moved ({error.strerror}); it stays")
