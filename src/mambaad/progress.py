"""Progress of long work: log records, which the command line shows as lines, and its bars.

What is called from Python prints nothing: its lines are records of the standard library's logger
``mambaad``. The command line shows them on standard error, and bars where that is a terminal.
"""

from __future__ import annotations

import logging
import os
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mambaad.files import printable

_SHOWN = "MAMBAAD_SHOW_PROGRESS"
"""Set in the environment of a command, so that the processes that it starts show their lines."""

_console = Console(stderr=True, highlight=False)
_lines = logging.getLogger("mambaad.progress")
logging.getLogger("mambaad").addHandler(logging.NullHandler())  # else Python prints the warnings


class _Shown(logging.Handler):
    """Prints each record as one line, whatever the characters of file names in it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record on what is standard error now."""
        _console.print(printable(record.getMessage()), markup=False, soft_wrap=True)


def show_progress() -> None:
    """Show lines and bars on standard error, here and in processes started from here."""
    os.environ[_SHOWN] = "1"
    _lines.setLevel(logging.INFO)
    _lines.propagate = False
    if not _lines.handlers:
        _lines.addHandler(_Shown())


def is_shown() -> bool:
    """Whether lines and bars are shown on standard error: in commands, and not from Python."""
    return bool(_lines.handlers)


def say(line: str) -> None:
    """Tell how work goes on, in one line (a record of level INFO)."""
    _lines.info("%s", line)


def warn(line: str) -> None:
    """Tell in one line what is not as it was asked for (a record of level WARNING)."""
    _lines.warning("%s", line)


class ProgressBar:
    """A bar with a count, the time left and a changing note.

    Nothing where there is no terminal, and outside of the command line. Use as a context manager;
    ``update(done, total)`` moves it.
    """

    def __init__(self, title: str, *, show: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=_console,
            transient=True,
            disable=not (show and is_shown() and _console.is_terminal),
        )
        self._task = self._progress.add_task(title, total=None, note="")

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Move the bar to ``done`` of ``total``."""
        self._progress.update(self._task, completed=done, total=total, note=printable(note))


if os.environ.get(_SHOWN):  # in a process that a command started
    show_progress()
