"""The exit codes of every command; docs/command_line.md has the same table, and a test compares."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's end means to the script that called it."""

    DONE = 0
    """The command did what was asked for."""
    FAILED = 1
    """An error, said in one line on standard error; or the work was done, and what it was to check
    did not hold: rejected parts (``predict --junit``), problems of a data set, a failed job."""
    USAGE = 2
    """The command line could not be understood."""
    ALARM = 3
    """What is watched has changed: drift (``monitor``), an audit trail (``serve verify``)."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; a line says what was kept and how to go on."""
