"""Files by path or URL: on this machine, in s3:// and the other stores that pyarrow knows."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pyarrow import ArrowException, fs

from mambaad.errors import ConfigError, RunError
from mambaad.file_errors import cannot_write
from mambaad.files import open_regular, printable, written_whole

SHORTLY = 4.0
"""Seconds that somebody who waits for a command waits for a store: six attempts."""
STORE_SECONDS = 300.0
"""Seconds that a worker waits for a store by default, as a job may have begun days before."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds, doubled after each attempt
ATTEMPT_SECONDS = 120.0
"""Seconds that an attempt may take: a store's own client tries again several times, too."""
_LONGEST = 300  # characters of an error, which may quote what it is about
_CHUNK = 2**20  # bytes
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://([^/]*)/*(.*)", re.DOTALL)  # not C:\
_FOR_GOOD = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

T = TypeVar("T")


def is_url(name: str) -> bool:
    """Whether a name is a URL of a store, and no path of this machine."""
    return _URL.fullmatch(name) is not None and not name.startswith("file://")


def plain(name: str) -> str:
    """Return the path that ``file://`` stands for; any other name as it is."""
    return name.removeprefix("file://") if name.startswith("file://") else name


def located(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    What follows the bucket is the key as it is: nothing in it is escaped, and it has no options.
    Endpoint, region and credentials come from the environment, as pyarrow reads it.

    Raises:
        ConfigError: no store that pyarrow knows.
        OSError: the store does not answer.
    """
    found = _URL.fullmatch(url)
    assert found is not None  # is_url
    scheme, host, key = found.groups()
    system, root = _system(scheme, host)
    return system, f"{root.rstrip('/')}/{key}" if key else root.rstrip("/")


@functools.lru_cache(maxsize=64)
def _system(scheme: str, host: str) -> tuple[Any, str]:
    try:
        system, root = fs.FileSystem.from_uri(f"{scheme}://{host}/")
    except (ArrowException, ValueError, ImportError) as error:
        raise ConfigError(
            f"{scheme}://{host} is no store that can be opened ({first_line(error)}); give a "
            "folder, or the URL of a store such as s3://BUCKET/FOLDER"
        ) from error
    return system, str(root)


def first_line(error: BaseException) -> str:
    """Return what a store or a reader says, on one line that a terminal can show."""
    line = printable(" ".join(str(error).split())) or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."


def is_lasting(error: OSError) -> bool:
    """Whether an error is of the file that was asked for, and not of its store."""
    return isinstance(error, _FOR_GOOD)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a store that fails.

    ``seconds``: of the pauses between attempts together. ``waiting``: called by any thread with the
    most seconds until it is called again: before each pause and attempt, and with 0 in the end.
    """

    seconds: float = SHORTLY
    waiting: Callable[[float], None] = lambda seconds: None


SHORT = Patience()


def retried(action: Callable[[], T], patience: Patience = SHORT) -> T:
    """Do something with a store, again after an error that may pass.

    Raises:
        OSError: what was asked for is not there or not allowed, or the store fails until patience
            is at its end.
    """
    pause, waited = _FIRST_PAUSE, 0.0
    patience.waiting(ATTEMPT_SECONDS)
    while True:
        try:
            found = action()
        except OSError as error:
            waited += pause
            if is_lasting(error) or waited > patience.seconds:
                raise
        else:
            patience.waiting(0.0)
            return found
        shaken = pause * (0.5 + random.random())  # not all workers at once
        patience.waiting(shaken + ATTEMPT_SECONDS)
        time.sleep(shaken)
        pause = min(2 * pause, _LONGEST_PAUSE)


def read_url(url: str, patience: Patience = SHORT) -> bytes:
    """Read a file of a store (OSError: see :func:`retried`; ConfigError: see :func:`located`)."""

    def read() -> bytes:
        system, path = located(url)
        with system.open_input_file(path) as file:
            content: bytes = file.read()
            if len(content) != file.size():
                raise OSError(f"{url} was read in part only")
            return content

    return retried(read, patience)


def digest_of(file: Any) -> str:
    """Compute the SHA-256, in hexadecimal, of what is left of an open file (OSError)."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class Place:
    """A folder that a job's files are written to and read from, here or in a store.

    Files in it are named by relative paths with ``/``. A file of a store appears when it is whole.

    Args:
        url: a path, or the URL of a store.
        patience: with the store.

    Attributes:
        folder: its path; None if it is in a store.
    """

    def __init__(self, url: str, patience: Patience = SHORT) -> None:
        self.url = plain(url)
        self.patience = patience
        self.folder = None if is_url(self.url) else Path(self.url)

    def __str__(self) -> str:
        return self.url

    def name_of(self, name: str) -> str:
        """The path or URL of a file in it."""
        return f"{self.url.rstrip('/')}/{name}"

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all (RunError)."""
        if self.folder is not None:
            with self.sink(name) as file:
                file.write(content)
            return

        def put() -> None:
            system, path = located(self.name_of(name))
            with system.open_output_stream(path) as stream:
                stream.write(content)

        try:
            retried(put, self.patience)
        except OSError as error:
            raise self._cannot_write(name, error) from error

    @contextmanager
    def sink(self, name: str) -> Iterator[Any]:
        """Open a file to be written piece by piece; it has its name once it is whole (RunError)."""
        try:
            if self.folder is not None:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(path) as temporary, temporary.open("wb") as file:
                    yield file
                return
            system, path_there = located(self.name_of(name))
            with system.open_output_stream(path_there) as stream:
                yield stream
        except OSError as error:
            raise self._cannot_write(name, error) from error

    def _cannot_write(self, name: str, error: OSError) -> RunError:
        if self.folder is not None:
            return cannot_write(self.folder / name, error)
        return RunError(
            f"{self.name_of(name)} cannot be written ({first_line(error)}); check the store and "
            "the permission to write there"
        )

    def read(self, name: str) -> bytes:
        """Read a file (OSError)."""
        if self.folder is None:
            return read_url(self.name_of(name), self.patience)
        with open_regular(self.folder / name) as file:
            return file.read()

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open a file whose parts are read in any order (OSError)."""
        if self.folder is None:

            def opened() -> AbstractContextManager[Any]:
                system, path = located(self.name_of(name))
                file: AbstractContextManager[Any] = system.open_input_file(path)
                return file

            return retried(opened, self.patience)
        file: BinaryIO = open_regular(self.folder / name)
        return file

    def digest(self, name: str) -> str:
        """Compute the SHA-256 of a file, in hexadecimal (OSError)."""
        with self.open(name) as file:
            return digest_of(file)

    def has(self, name: str) -> bool:
        """Whether there is something of that name (OSError)."""
        if self.folder is not None:
            return os.path.lexists(self.folder / name)  # what is no file is refused when it is read
        (info,) = self._infos(lambda path: [path], name)
        return bool(info.type == fs.FileType.File)

    def names(self, folder: str) -> list[str]:
        """List the files of a folder in it, sorted; none if it is not there (OSError)."""
        if self.folder is not None:
            try:
                return sorted(os.listdir(self.folder / folder))  # noqa: PTH208  # quick
            except FileNotFoundError:
                return []
        found = self._infos(lambda path: fs.FileSelector(path, allow_not_found=True), folder)
        return sorted(info.base_name for info in found)

    def times(self, folder: str) -> dict[str, float]:
        """When the files of a folder in a store were written, by its clock, in s (OSError)."""
        assert self.folder is None
        found = self._infos(lambda path: fs.FileSelector(path, allow_not_found=True), folder)
        return {info.base_name: info.mtime_ns / 1e9 for info in found}

    def remove(self, name: str) -> None:
        """Remove a file of a store, if it is there (OSError)."""
        assert self.folder is None

        def delete() -> None:
            system, path = located(self.name_of(name))
            system.delete_file(path)

        with suppress(FileNotFoundError):
            retried(delete, self.patience)

    def _infos(self, asked: Callable[[str], Any], name: str) -> list[Any]:
        def ask() -> list[Any]:
            system, path = located(self.name_of(name))
            infos: list[Any] = system.get_file_info(asked(path))
            return infos

        return retried(ask, self.patience)
