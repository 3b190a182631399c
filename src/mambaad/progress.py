"""Progress of long work: log records, which the command line shows as lines, and its bars.

What is called from Python prints nothing: its lines are records of the standard library's logger
``mambaad``. The command line shows them on standard error, and bars where that is a terminal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mambaad.files import printable

Verbosity = Literal["quiet", "normal", "verbose"]
"""What a command shows of its work: warnings; its lines and bars; details with their time."""

_SHOWN = "MAMBAAD_SHOW_PROGRESS"
"""Set in the environment of a command, so that the processes that it starts show their lines."""
_LEVELS = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}

_console = Console(stderr=True, highlight=False)
_lines = logging.getLogger("mambaad.progress")
logging.getLogger("mambaad").addHandler(logging.NullHandler())  # else Python prints the warnings


class _Shown(logging.Handler):
    """Prints each record as one line, whatever the characters of file names in it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record on what is standard error now."""
        _console.print(printable(record.getMessage()), markup=False, soft_wrap=True)


class _Detailed(_Shown):
    """Prints with each line its time and its logger, and the trace of an error if it has one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, of which only the trace has several lines."""
        _console.print(
            self._time.formatTime(record, "%H:%M:%S"),
            record.name,
            printable(record.getMessage()),
            markup=False,
            soft_wrap=True,
        )
        if record.exc_info:
            for line in self._time.formatException(record.exc_info).splitlines():
                _console.print(printable(line), markup=False, soft_wrap=True)

    _time = logging.Formatter()


_package = logging.getLogger("mambaad")


def show_progress(level: Verbosity = "normal") -> None:
    """Show lines and bars on standard error, here and in processes started from here.

    ``level``: with ``"verbose"`` all records of the logger ``mambaad`` are shown, with ``"quiet"``
    its warnings, and no bars.
    """
    os.environ[_SHOWN] = level
    logger = _package if level == "verbose" else _lines
    for other in (_lines, _package):
        for handler in [h for h in other.handlers if isinstance(h, _Shown)]:
            other.removeHandler(handler)
    logger.addHandler(_Detailed() if level == "verbose" else _Shown())
    _lines.propagate = level == "verbose"
    _lines.setLevel(logging.NOTSET if level == "verbose" else _LEVELS[level])
    _package.setLevel(logging.DEBUG if level == "verbose" else logging.NOTSET)


@contextmanager
def verbosity(level: Verbosity) -> Iterator[None]:
    """Show more or less within."""
    before = _verbosity()
    show_progress(level)
    try:
        yield
    finally:
        show_progress(before)


def _verbosity() -> Verbosity:
    shown = os.environ.get(_SHOWN)
    return "quiet" if shown == "quiet" else "verbose" if shown == "verbose" else "normal"


def console() -> Console:
    """Return the console of lines and bars, on standard error: what else moves belongs there too.

    So lines are printed above it.
    """
    return _console


def is_shown() -> bool:
    """Whether lines and bars are shown on standard error: in commands, and not from Python."""
    handlers = (*_lines.handlers, *_package.handlers)
    return not is_quiet() and any(isinstance(handler, _Shown) for handler in handlers)


def is_quiet() -> bool:
    """Whether a command was told to print results, warnings and errors alone."""
    return _verbosity() == "quiet"


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
    show_progress(_verbosity())
