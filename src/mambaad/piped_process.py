"""A process that works for this one, and the pipe by which they talk."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mambaad.process import process_context


class PipedProcess:
    """A process that is begun, and takes tasks from a pipe until one is None.

    Args:
        work: what it runs; gets ``plan`` and its end of the pipe.
        plan: can be pickled.
        modules: that the server of processes imports beforehand.

    Attributes:
        pipe: this end.
    """

    def __init__(self, work: Callable[[Any, Any], None], plan: object, *modules: str) -> None:
        context = process_context(*modules)
        self.pipe: Connection[Any, Any]
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(plan, theirs), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def end(self) -> None:
        """Have it end, which it does at once unless it is at work or stuck."""
        try:
            self.pipe.send(None)
            self._process.join(5)
        except OSError:
            pass
        self.kill()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def stop(self) -> None:
        """Kill it from another thread, than which the one that waits for it goes on."""
        self._process.kill()
