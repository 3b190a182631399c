"""Pauses between attempts to reach a source that has failed: each twice as long, to a limit."""

from __future__ import annotations

from collections.abc import Iterator

_FIRST, _LONGEST = 0.5, 10.0


def pauses() -> Iterator[float]:
    """Yield seconds without an end: 0.5, 1, 2, and so on, at most 10."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST)
