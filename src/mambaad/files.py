"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mambaad.errors import RunError

TEMPORARY = ".mambaad-tmp"
"""Suffix of unfinished files; a killed process can leave some behind."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` on success.

    A crash, a full disk or a kill leaves the earlier file at ``path`` as it was.

    Raises:
        RunError: the file cannot be written.
    """
    path = path.resolve()  # a symbolic link stays one
    check_regular(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        mend = advice(error, "free some space, or choose another path")
        raise RunError(f"{path} cannot be written ({reason}); {mend}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def advice(error: OSError, usual: str) -> str:
    """Say what to do about a file that cannot be read or written.

    Args:
        error: that the system gave.
        usual: what to do where that does not say more.
    """
    if error.errno == errno.ENAMETOOLONG:
        return "its name is too long for the disk: shorten the names of files and folders"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "its permissions forbid it: change them, or choose another path"
    return usual


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
    with path.open("rb") as file:
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
