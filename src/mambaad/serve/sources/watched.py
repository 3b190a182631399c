"""A watched folder: each new image in it is inspected exactly once.

A file is read when it has not changed for some time, so that one that is written slowly is whole.
Its key is its name, size, time and content: after a restart what was inspected is known by it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from watchfiles import awatch

from mambaad.data.walk import IMAGE_SUFFIXES
from mambaad.errors import ConfigError, MambaADError
from mambaad.files import printable, read_regular
from mambaad.progress import say
from mambaad.serve.intake import Received
from mambaad.serve.problems import Problem
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings

DONE, REFUSED = "inspected", "refused"
"""Folders that files are moved to."""
_LOOK_MS = 500
_UNFINISHED_SECONDS = 30.0  # that an image without an end is waited for


class WatchedFolder:
    """Inspects the files of a folder as they come; folders inside are left alone.

    Args:
        settings: which folder, when a file is whole, and whether it is moved afterwards.
        service: inspects and keeps them.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(self, settings: ServeSettings, service: Service) -> None:
        assert settings.watch is not None  # else there is none
        self._folder, self._settings, self._service = settings.watch, settings, service
        if not self._folder.is_dir():
            raise ConfigError(f"--watch: {self._folder} is not a folder; create it")
        self._since: dict[str, tuple[tuple[int, int], float]] = {}  # a name's stamp, and its time
        self._done: dict[str, tuple[int, int]] = {}
        self._inspected = self._refused = 0
        self._problem: str | None = None

    def state(self) -> dict[str, Any]:
        """How it fares, as ``/v1/sources`` shows it."""
        return {
            "name": printable(self._folder.name),
            "kind": "folder",
            "state": {
                "waiting": len(self._since),
                "inspected": self._inspected,
                "refused": self._refused,
                "problem": self._problem,
            },
        }

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                async for _ in awatch(
                    self._folder, recursive=False, rust_timeout=_LOOK_MS, yield_on_timeout=True
                ):
                    await self._look()
            except (OSError, RuntimeError) as error:  # the folder is gone
                self._problem = printable(str(error))
                await asyncio.sleep(2)

    async def _look(self) -> None:
        stamps = await asyncio.to_thread(self._stamps)
        self._problem = None
        moment = time.monotonic()
        for name in self._since.keys() - stamps.keys():
            del self._since[name]
        for name in self._done.keys() - stamps.keys():
            del self._done[name]
        for name, stamp in stamps.items():
            if self._done.get(name) == stamp:
                continue
            if self._since.get(name, (None, 0))[0] != stamp:
                self._since[name] = (stamp, moment)
            elif moment - self._since[name][1] >= self._settings.watch_settle:
                await self._take(name, stamp)

    def _stamps(self) -> dict[str, tuple[int, int]]:
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

    async def _take(self, name: str, stamp: tuple[int, int]) -> None:
        """Inspect a file; what the service cannot take now is tried at the next look."""
        path = self._folder / name
        try:
            content = await asyncio.to_thread(read_regular, path, self._settings.max_bytes)
            after = await asyncio.to_thread(path.stat)
            if (after.st_size, after.st_mtime_ns) != stamp:
                return
            if not _ends(content) and time.monotonic() - self._since[name][1] < _UNFINISHED_SECONDS:
                return
            with self._service.intake.place(len(content)):
                key = hashlib.sha256(
                    repr((name, stamp)).encode("utf-8", "surrogatepass") + content
                ).hexdigest()
                received = Received(
                    content, "folder", serial=None, file_name=printable(name)[:255], key=key
                )
                await self._service.intake.accept(received)
        except Problem as problem:
            if problem.status in (429, 503, 507):
                return
            await self._refuse(name, stamp, problem)
        except OSError as error:
            await self._refuse(name, stamp, error)
        except MambaADError as error:  # the store's: try again
            self._problem = str(error)
        else:
            self._inspected += 1
            await self._finish(name, stamp, DONE)

    async def _finish(self, name: str, stamp: tuple[int, int], to: str) -> None:
        self._done[name] = stamp
        self._since.pop(name, None)
        if self._settings.watch_then == "move":
            await asyncio.to_thread(self._move, self._folder / name, to)

    async def _refuse(self, name: str, stamp: tuple[int, int], error: Exception) -> None:
        self._refused += 1
        say(f"{printable(name)} was not inspected: {error}")
        await self._finish(name, stamp, REFUSED)

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


def _ends(content: bytes) -> bool:
    """Whether a file has its format's end, where the format has one."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-64:]
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in content[-64:]
    return True
