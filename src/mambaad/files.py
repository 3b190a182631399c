"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mambaad.errors import RunError

TEMPORARY = ".mambaad-tmp"
"""The end of the names of unfinished files; a kill can leave some behind."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` when all went well.

    A crash, a full disk or a kill leaves what was at ``path`` before.

    Raises:
        RunError: it cannot be written.
    """
    path = path.resolve()  # a link stays one
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{path} cannot be written ({reason}); free some space, or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal (OSError where it cannot be read)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is for.

    Raises:
        RunError: its folder is absent or read-only, or it is a folder or a device itself.
    """
    if path.exists() and not path.is_file():
        raise RunError(f"{path} is not a file; give the name of a file to write")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is not a folder; make it, or write elsewhere")
    if not os.access(path.parent, os.W_OK):
        raise RunError(f"{path.parent} cannot be written; choose another folder")
