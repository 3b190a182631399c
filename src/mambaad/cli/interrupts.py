"""Ctrl-C and SIGTERM on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from mambaad.cli.output import show
from mambaad.launch import launched
from mambaad.process import sigterm_as_interrupt


@contextmanager
def exit_on_interrupt(
    message: str | None = None, *, otherwise: str = "interrupted"
) -> Iterator[None]:
    """Turn a KeyboardInterrupt into one line on standard error and exit code 130.

    Args:
        message: the line. A command that trains on its way gives one: what the interrupt itself
            says is how to resume the training alone.
        otherwise: the line where neither a message is given nor the interrupt says anything.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        launch = launched()
        if launch is None or launch.is_first:  # which speaks for the others
            show(f"mambaad: {message or str(interrupt) or otherwise}", err=True)
        raise typer.Exit(130) from None


class InterruptibleGroup(TyperGroup):
    """Commands that clean up after SIGTERM as after Ctrl-C, and say in a line that they stopped."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102
        try:
            return super().main(*args, **kwargs)
        except SystemExit as ended:
            # Typer ends without a line what is interrupted before or after the command's own work.
            if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
                show("mambaad: interrupted", err=True)
            raise

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        with sigterm_as_interrupt(), exit_on_interrupt():
            return super().invoke(ctx)
