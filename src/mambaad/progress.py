"""Progress of long work, on standard error: lines, and a bar where there is a terminal."""

from __future__ import annotations

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

_console = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """Print one line on standard error, whatever the characters of file names in it."""
    _console.print(printable(line), markup=False, soft_wrap=True)


class ProgressBar:
    """A bar with a count, the time left and a changing note; nothing where there is no terminal.

    Use as a context manager; ``update(done, total)`` moves it.
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
            disable=not show or not _console.is_terminal,
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
