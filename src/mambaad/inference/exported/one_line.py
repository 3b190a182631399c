"""Messages of other runtimes, whose errors have many lines."""

from __future__ import annotations


def one_line(error: Exception, *hidden: str) -> str:
    """The last line of an error's message that says anything, shortened.

    Args:
        error: of a runtime.
        hidden: names that mean nothing to a user, such as that of a temporary folder.
    """
    text = str(error)
    for name in hidden:
        text = text.replace(name, "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
