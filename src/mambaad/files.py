"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from mambaad.errors import RunError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # on Windows, where a file that is open cannot be removed
    fcntl = None

TEMPORARY = ".mambaad-tmp"
"""Suffix of unfinished files and folders; a killed process can leave some behind."""
LOCK = ".mambaad.lock"
"""Name of the file by which a folder is locked."""
_BINARY = getattr(os, "O_BINARY", 0)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` on success.

    A crash, a full disk or a kill leaves the earlier file at ``path`` as it was, and at most an
    unfinished file, which the next one that is written into this folder removes.

    Raises:
        RunError: the file cannot be written.
    """
    path = path.resolve()  # a symbolic link stays one
    check_regular(path)
    with _write_errors(path), _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` to fill; rename it to ``path`` on success.

    ``path`` must be absent, or an empty folder.

    Raises:
        RunError: it cannot be written.
    """
    path = path.resolve()
    with _write_errors(path), _temporary(path, is_folder=True) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{path} cannot be written ({reason}); free some space, or choose another path"
        ) from error


@contextmanager
def _temporary(path: Path, *, is_folder: bool = False) -> Iterator[Path]:
    """Make a file or folder beside ``path``, locked as long as this process works on it."""
    _sweep(path.parent)
    while True:
        temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{TEMPORARY}")
        if is_folder:
            temporary.mkdir()
        else:
            temporary.open("xb").close()  # with the mode that the umask gives
        descriptor = _claim(temporary)
        if descriptor is not None:  # else another process took it for a left-over
            break
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder; once a process looks at each."""
    if folder in _SWEPT:
        return
    _SWEPT.add(folder)
    with suppress(OSError):  # such as one that may not be listed
        for leftover in folder.glob(f".*{TEMPORARY}"):
            descriptor = _claim(leftover)
            if descriptor is not None:
                _remove(leftover)
                os.close(descriptor)


_SWEPT: set[Path] = set()


def _claim(path: Path) -> int | None:
    """Lock a file or folder until the descriptor is closed; None if another process has it.

    The kernel frees the lock when its process ends, however it ends.
    """
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except OSError:
        pass
    if descriptor is not None:
        os.close(descriptor)
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: no other process of this package writes into it meanwhile.

    The lock is the kernel's and ends with the process, however it ends; its file,
    :data:`LOCK`, stays. Within a process the same folder can be locked again.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout  # here, since it takes 80 ms to load

    lock = FileLock(folder.resolve() / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{folder} is being written by another mambaad process; wait for it, or choose "
            "another folder"
        ) from None
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


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


def read_regular(path: Path, most: int) -> bytes:
    """Read a file of at most ``most`` bytes (OSError: see :func:`open_regular`; or larger)."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", str(path))
    return content


def check_regular(path: Path) -> None:
    """Refuse to replace what is no file, such as a device or a folder (RunError)."""
    with suppress(OSError):  # such as too long a name: who writes will say it
        if path.exists() and not path.is_file():
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
        RunError: its folder is absent or read-only, or it is a folder or device itself.
    """
    if path.exists() and not path.is_file():
        raise RunError(f"{path} is not a file; give the path of a file to write")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is not a folder; create it, or choose another path")
    if not os.access(path.parent, os.W_OK):
        raise RunError(f"{path.parent} cannot be written; choose another folder")


def printable(path: str | Path) -> str:
    """Make a path, or a line with one, valid Unicode of one line.

    File names may have any characters: bytes that are no UTF-8 become ``\\xff``, and line ends and
    other control characters become ``\\n``, ``\\x1b`` and so on.
    """
    return _ODD.sub(_escaped, str(path))


_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    is_byte = 0xDC80 <= code <= 0xDCFF  # as Python keeps bytes that are no UTF-8
    return f"\\x{code - 0xDC00:02x}" if is_byte else ascii(found.group())[1:-1]
