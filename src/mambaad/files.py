"""Files that are written whole or not at all, and files that are read only if they are regular."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from mambaad.errors import RunError
from mambaad.file_errors import cannot_write
from mambaad.locks import LOCK as LOCK  # so that writers need only this module
from mambaad.locks import claim, held
from mambaad.locks import locked as locked

TEMPORARY = ".mambaad-tmp"
"""Suffix of unfinished files and folders, whose names begin with a dot.

A killed process can leave some behind, until the next file is written into their folder.
"""
_BINARY = getattr(os, "O_BINARY", 0)
_STREAMS = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
_SWEEP_AGAIN = 600.0
"""Seconds until a folder is looked at again for what killed processes left there."""
_SWEPT: dict[Path, float] = {}
_MOST_SWEPT = 10_000
_OLD = 86_400.0
"""Seconds without a change after which an unfinished file is a left-over where nothing is locked.
"""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` on success.

    A crash, a full disk or a kill leaves the earlier file at ``path`` as it was, and at most an
    unfinished file, which the next one that is written into this folder removes. The temporary
    file exists already: write to it, and do not replace it, as it is locked.

    Raises:
        RunError: the file cannot be written.
    """
    check_regular(path)
    path = _resolved(path)
    with _write_errors(path), temporary_beside(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` to fill; rename it to ``path`` on success.

    ``path`` must be absent, or an empty folder, at the end. Meanwhile no other process can make it.

    Raises:
        RunError: it cannot be written, or another process makes it.
    """
    path = _resolved(path)
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]  # its own may be too long
    with (
        _write_errors(path),
        temporary_beside(path, is_folder=True) as temporary,
        # Let go first, as removing the folder takes a descriptor.
        held(path.with_name(f".{name}{LOCK}"), path),
    ):
        yield temporary
        if path.is_dir():
            path.rmdir()  # Windows renames to no folder, not even an empty one
        temporary.replace(path)


def _resolved(path: Path) -> Path:
    """Follow links, so that a link stays one; one to itself is left to who writes there."""
    return Path(os.path.realpath(path))


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def temporary_beside(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Make a file or folder beside ``path``, and remove it at the end unless it was renamed.

    It is locked as long as this process works on it, and what others left is swept first.

    Raises:
        OSError: it cannot be made.
    """
    sweep(path.parent)
    while True:
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{TEMPORARY}")
        if is_folder:
            temporary.mkdir()
        else:
            temporary.open("xb").close()  # with the mode that the umask gives
        try:
            descriptor = claim(temporary)
            break
        except BlockingIOError:  # another process took it for a left-over
            continue
    maker = os.getpid()
    try:
        yield temporary
    finally:
        if descriptor is not None:
            os.close(descriptor)  # first, as removing a folder takes some of them
        if os.getpid() == maker:  # a fork of it drops what it does not use, as this generator
            _remove(temporary)
        if os.path.lexists(temporary):  # as where there are no descriptors left
            _SWEPT.pop(path.parent, None)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder below the system's for temporary files; what kills left there is swept first.

    Raises:
        RunError: it cannot be made.
    """
    base = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_beside(base / "folder", is_folder=True))
            folder.chmod(0o700)  # others may list the system's
        except OSError as error:
            raise cannot_write(f"TMPDIR: {base}", error) from error
        yield folder


def remove_folder(folder: Path) -> None:
    """Delete a folder, if there is one: a kill leaves all of it, or what the next command sweeps.

    Where its parent cannot be written it stays.
    """
    if folder.is_dir():
        with suppress(OSError), temporary_beside(folder, is_folder=True) as temporary:
            folder.rename(temporary / folder.name)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: unfinished files, and locks.

    What a living process works on is locked, and stays. Where the file system has no locks, what
    has not changed for a day counts as left over.
    """
    now = time.monotonic()
    if now - _SWEPT.get(folder, -_SWEEP_AGAIN) < _SWEEP_AGAIN:
        return
    if len(_SWEPT) >= _MOST_SWEPT:
        _SWEPT.clear()
    _SWEPT[folder] = now
    with suppress(OSError):  # such as one that may not be listed
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if is_own(entry.name)]
        for leftover in (folder / name for name in names):
            with suppress(BlockingIOError):  # another process is at it
                descriptor = claim(leftover)
                if descriptor is not None or _is_old(leftover):
                    _remove(leftover)
                if descriptor is not None:
                    os.close(descriptor)


def _is_old(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > _OLD


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            # This needs one descriptor, and not one for each level.
            for folder, folders, files in os.walk(path, topdown=False):
                for name in files:
                    Path(folder, name).unlink()
                for name in folders:
                    Path(folder, name).rmdir()
            if path.is_dir():
                path.rmdir()
        else:
            path.unlink()


def is_own(name: str) -> bool:
    """Whether a name is that of a lock or an unfinished file of this package: not a user's file."""
    return name.startswith(".") and name.endswith((TEMPORARY, LOCK))


def is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder but locks and what killed processes left (OSError)."""
    return all(is_own(path.name) for path in folder.iterdir())


def open_regular(path: Path, folder: int | None = None) -> BinaryIO:
    """Open a file to be read; a pipe or a device is refused at once, instead of waited for.

    Args:
        path: of the file.
        folder: descriptor of the folder to which the path is relative, where the system has such.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_text(path: Path, encoding: str = "utf-8", newline: str | None = None) -> TextIO:
    """Open a text file to be read; see :func:`open_regular`, and :func:`open` for ``newline``."""
    return io.TextIOWrapper(open_regular(path), encoding=encoding, newline=newline)


def read_regular(path: Path, most: int) -> bytes:
    """Read a file of at most ``most`` bytes (OSError: see :func:`open_regular`; or larger)."""
    with open_regular(path) as file:
        return read_rest(file, most)


def read_rest(file: BinaryIO, most: int) -> bytes:
    """Read what is left of an open file, at most ``most`` bytes (OSError)."""
    size = os.fstat(file.fileno()).st_size  # for as many bytes as are asked for there must be room
    content = file.read(min(most, size) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(file.name))
    return content


def check_regular(path: Path) -> None:
    """Refuse to replace what is no file: a device, a pipe, a folder, a stream (RunError).

    Standard output and the like are streams, even where they lead to a file: replacing that would
    lose what else is written there.
    """
    is_stream = os.path.abspath(path).startswith(_STREAMS)  # noqa: PTH100  # resolve() follows it
    with suppress(OSError):  # such as too long a name: who writes will say it
        if is_stream or (path.exists() and not path.is_file()):
            raise RunError(f"{path} is no regular file, so it is not replaced; choose another path")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all (RunError)."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal (OSError if it cannot be read)."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before the work whose result goes there.

    Raises:
        RunError: its folder is absent or read-only, it is a folder, device or pipe itself, or its
            name is too long.
    """
    check_regular(path)
    try:
        path.exists()
        is_folder = path.parent.is_dir()
    except OSError as error:
        raise cannot_write(path, error) from error
    if not is_folder:
        raise RunError(f"{path.parent} is not a folder; create it, or choose another path")
    if not os.access(path.parent, os.W_OK):
        raise RunError(f"{path.parent} cannot be written; choose another folder")


def printable(path: str | Path) -> str:
    """Make a path, or a line with one, valid Unicode of one line, that reads as it is written.

    File names may have any characters: bytes that are no UTF-8 become ``\\xff``, line ends and
    other control characters ``\\n``, ``\\x1b`` and so on, and those that change the direction of
    what follows ``\\u202e``. A terminal, HTML and XML can hold what is left.
    """
    return _ODD.sub(_escaped, str(path))


_ODD = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    is_byte = 0xDC80 <= code <= 0xDCFF  # as Python keeps bytes that are no UTF-8
    return f"\\x{code - 0xDC00:02x}" if is_byte else ascii(found.group())[1:-1]
