"""Ctrl-C and SIGTERM on the command line, and the command as it was typed."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from mambaad.cli.commands import Group
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.output import show
from mambaad.launch import launched
from mambaad.process import sigterm_as_interrupt

_words: list[str] = []

# Of Typer's own copy of Click, or of Click's, which older versions use.
_UsageError: Any = typer.BadParameter.__base__


def again(*added: str) -> str:
    """The command that is running, as it was typed, quoted for a shell; with ``added`` flags."""
    return shlex.join(["mambaad", *_words, *(flag for flag in added if flag not in _words)])


@contextmanager
def exit_on_interrupt(
    message: str | Callable[[], str] | None = None, *, otherwise: str | None = None
) -> Iterator[None]:
    """Turn a KeyboardInterrupt into one line on standard error and exit code 130.

    Args:
        message: the line, or what finds it then. A command that trains on its way gives one: what
            the interrupt itself says is how to resume the training alone.
        otherwise: the line where neither a message is given nor the interrupt says anything; by
            default, that of a command that has changed nothing.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        otherwise = otherwise or f"interrupted; nothing was changed; again with: {again()}"
        line = message() if callable(message) else message
        launch = launched()
        if launch is None or launch.is_first:  # which speaks for the others
            show(f"mambaad: {line or str(interrupt) or otherwise}", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


class InterruptibleGroup(Group):
    """Commands that clean up after SIGTERM as after Ctrl-C, and say in a line that they stopped.

    What cannot be understood of a command line is said in one line too.
    """

    def main(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:  # noqa: D102
        _words[:] = sys.argv[1:] if args is None else args
        try:
            return super().main(args, *more, **named)
        except SystemExit as ended:
            # Typer ends without a line what is interrupted before or after the command's own work.
            if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
                show(f"mambaad: interrupted; again with: {again()}", err=True)
            raise

    def make_context(self, *args: Any, **named: Any) -> Any:  # noqa: D102
        with _one_line():
            return super().make_context(*args, **named)

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        with _one_line(), sigterm_as_interrupt(), exit_on_interrupt():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    """Say in one line what is wrong with a command line, and whose help to read; exit code 2."""
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise  # shows the help
        problem = " ".join(error.format_message().split()).rstrip(".")
        problem = re.sub(r" \(Possible options: (.*)\)", r"; did you mean \1?", problem)
        problem = problem.replace(". Did you mean", "; did you mean").replace("?;", ";")
        asked = error.ctx.command_path if error.ctx else "mambaad"
        show(f"mambaad: {problem[:1].lower()}{problem[1:]}; see {asked} --help", err=True)
        raise typer.Exit(ExitCode.USAGE) from None
