"""What commands print: text in which no name can move the cursor, add a line or turn the rest."""

from __future__ import annotations

import typer

from mambaad.files import printable


def show(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or standard error, with odd characters escaped."""
    typer.echo("\n".join(map(printable, text.split("\n"))), err=err)
