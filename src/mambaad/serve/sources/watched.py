"""A watched folder: each new image in it is inspected exactly once.

When a file is whole is said in :mod:`mambaad.capture.filling`. Its key is its name, size, time and
content: after a restart what was inspected is known by it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from watchfiles import awatch

from mambaad.capture.filling import FillingFolder, Stamp
from mambaad.errors import ConfigError
from mambaad.files import printable
from mambaad.progress import say
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sources.source import Capture

DONE, REFUSED = "inspected", "refused"
"""Folders that files are moved to."""
_LOOK_MS = 500


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
        self._files = FillingFolder(self._folder, settings.watch_settle, settings.max_bytes)
        self._given: tuple[str, Stamp] | None = None
        self._inspected = self._refused = 0

    def state(self) -> dict[str, Any]:
        """How many files wait, were accepted, and were not."""
        return {
            "waiting": self._files.waiting,
            "inspected": self._inspected,
            "refused": self._refused,
        }

    async def captures(self) -> AsyncGenerator[Capture, None]:
        """Give each file that is whole (OSError, RuntimeError: the folder is gone)."""
        async for _ in awatch(
            self._folder, recursive=False, rust_timeout=_LOOK_MS, yield_on_timeout=True
        ):
            for name, stamp in await asyncio.to_thread(self._files.settled):
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

    async def _read(self, name: str, stamp: Stamp) -> Capture | None:
        """A file that is whole; None for one that is not, or that cannot be read."""
        try:
            content = await asyncio.to_thread(self._files.read, name, stamp)
        except OSError as error:
            self._refused += 1
            say(f"{printable(name)} was not inspected: {error}")
            await self._finish(name, stamp, REFUSED)
            return None
        if content is None:
            return None
        named = repr((name, stamp)).encode("utf-8", "surrogatepass")
        key = hashlib.sha256(named + content).hexdigest()
        return Capture(content, key=key, file_name=name)

    async def _finish(self, name: str, stamp: Stamp, to: str) -> None:
        self._files.finish(name, stamp)
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
