"""Signals from the lines of a file: of standard input, from whatever knows when a part is there."""

from __future__ import annotations

import os

from mambaad.capture.triggers import Signals

_MOST = 2**12  # bytes of a line that has no end
_LONGEST = 255  # characters of a serial


def fire_lines(descriptor: int, signals: Signals) -> None:
    """Fire a signal for each line, whose text is the part's serial; close them at the end.

    Reads the descriptor itself, since a thread that waits in ``sys.stdin`` would hold its lock when
    the process ends.

    Args:
        descriptor: of a pipe, a terminal or a file.
        signals: are fired.
    """
    rest = b""
    try:
        while content := os.read(descriptor, 2**16):
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                signals.fire(_serial(line))
            rest = rest[:_MOST]
        if rest:
            signals.fire(_serial(rest))
    except OSError:  # it was closed
        pass
    finally:
        signals.close()


def _serial(line: bytes) -> str | None:
    return line.decode("utf-8", "backslashreplace").strip()[:_LONGEST] or None
