"""Locks on files and folders, by the kernel: they end with their process, however that ends.

Where a file system has no locks, as some on networks, work goes on without them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mambaad.errors import RunError
from mambaad.file_errors import cannot_write

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".mambaad.lock"
"""Name of the file by which a folder is locked, there while it is (or after a kill)."""
_PAUSE = 0.05  # seconds between two tries
_PATIENCE = 0.25  # seconds to wait in any case: a sweep (mambaad.files) holds a lock for a moment
_HELD: set[tuple[Path, int]] = set()
"""The lock files that are held by threads of this process."""


@contextmanager
def locked(folder: Path, *, make: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock: no other process of this package writes into it meanwhile.

    The thread that holds it can lock the same folder again.

    Args:
        folder: an existing one, unless ``make``.
        make: create it if it does not exist.
        wait: seconds to wait for another process.

    Raises:
        RunError: another process (or thread) holds it, or the folder cannot be written.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        path = Path(os.path.realpath(folder)) / LOCK
    except OSError as error:
        raise cannot_write(folder, error) from error
    with held(path, folder, wait=wait):
        yield


@contextmanager
def held(path: Path, what: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock file.

    Args:
        path: of the lock file, with all links resolved; removed at the end.
        what: what it locks, for errors.
        wait: seconds to wait for another process.

    Raises:
        RunError: see :func:`locked`.
    """
    key = (path, threading.get_ident())
    if key in _HELD:
        yield
        return
    descriptor = _acquire(path, what, time.monotonic() + max(wait, _PATIENCE))
    _HELD.add(key)
    try:
        yield
    finally:
        _HELD.discard(key)
        _release(path, descriptor)


def _acquire(path: Path, what: Path, until: float) -> int:
    while True:
        try:
            descriptor = _opened(path)
        except OSError as error:
            raise cannot_write(what, error) from error
        if _lock(descriptor) is not False:
            if _is(path, descriptor):
                return descriptor
            os.close(descriptor)  # its holder has removed it meanwhile
            continue
        os.close(descriptor)
        if time.monotonic() >= until:
            raise RunError(
                f"{what} is being written by another mambaad process; wait for it, or choose "
                "another path"
            )
        time.sleep(_PAUSE)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # of another user's, whose folder may be written
        return os.open(path, os.O_RDONLY)


def _release(path: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # where no open file can be removed
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        return
    with suppress(OSError):
        if _is(path, descriptor):  # the folder may have been moved
            path.unlink()
    os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if another has it, None if there are no locks."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def claim(path: Path) -> int | None:
    """Lock a file or folder itself until the descriptor is closed.

    Returns:
        The descriptor; None where there are no locks (on Windows there are none for it: an open
        file cannot be renamed).

    Raises:
        BlockingIOError: another process has it, or has removed it.
    """
    if sys.platform == "win32":
        return None
    # Locks of files on NFS are for those who may write; folders have none there.
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        descriptor = os.open(path, access | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise BlockingIOError from None
    except OSError:
        return None
    is_ours = _lock(descriptor)
    if is_ours and os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    if is_ours is None:
        return None
    raise BlockingIOError
