"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mambaad.errors import RunError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` when all went well.

    A crash, a full disk or a kill leaves what was at ``path`` before.

    Raises:
        RunError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"{path} cannot be written ({reason}); free or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it is for.

    Raises:
        RunError: its folder is absent or read-only, or it is itself a folder.
    """
    if path.is_dir():
        raise RunError(f"{path} is a folder, expected a file to write; add a file name")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent} is not a folder; make it, or write elsewhere")
    if not os.access(path.parent, os.W_OK):
        raise RunError(f"{path.parent} cannot be written; choose another folder")
