"""What may lie in the place of a file that is no regular file, or is no use."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


def _linked(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have about 100 characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _is_a_loop(path: Path) -> None:
    path.symlink_to(path.name)


REPLACEMENTS: dict[str, Callable[[Path], None]] = {
    "a FIFO": _fifo,
    "a folder": _folder,
    "a link to /dev/zero": _linked("/dev/zero"),
    "a link to /dev/null": _linked("/dev/null"),
    "a link to nothing": _linked("nowhere"),
    "a link to itself": _is_a_loop,
    "a link to a folder": _linked("."),
    "a sparse file of a terabyte": _sparse,
    "a socket": _socket,
    "nothing": lambda path: None,
}


def replace(path: Path, name: str) -> str:
    """Put something hostile in the place of a file; returns what was done."""
    path.unlink()
    REPLACEMENTS[name](path)
    return f"is now {name}"
