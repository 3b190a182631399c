"""What commands print: text in which no name can move the cursor, add a line or turn the rest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from mambaad.files import check_writable, printable, write_text
from mambaad.progress import is_quiet

STANDARD_OUTPUT = Path("-")
"""The path by which a user asks for results on standard output."""

_is_taken = False


def show(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or standard error, with odd characters escaped.

    Where results go to standard output (``--json -``), all lines go to standard error.
    """
    typer.echo("\n".join(map(printable, text.split("\n"))), err=err or _is_taken)


def show_next(*words: object, first: str = "", done: str = "") -> None:
    """Print the next sensible command, as it can be pasted into a shell; nothing with --quiet.

    Args:
        words: of the command, after ``mambaad``.
        first: what a person does before.
        done: what has been done, in front; it is printed with --quiet too.
    """
    hint = f"next: {first}{shlex.join(['mambaad', *map(str, words)])}"
    parts = [part for part in (done, "" if is_quiet() else hint) if part]
    if parts:
        show("; ".join(parts))


@contextmanager
def taken_by_results() -> Iterator[None]:
    """Keep standard output for results, within: all lines go to standard error."""
    global _is_taken
    before, _is_taken = _is_taken, True
    try:
        yield
    finally:
        _is_taken = before


def check_results(*paths: Path | None) -> None:
    """Refuse files that results cannot be written to (RunError); ``-`` is standard output."""
    for path in paths:
        if path and path != STANDARD_OUTPUT:
            check_writable(path)


def write_results(path: Path | None, text: str) -> None:
    """Write results to a file, whole or not at all, or to standard output; to None: nothing."""
    if path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    elif path:
        write_text(path, text)
