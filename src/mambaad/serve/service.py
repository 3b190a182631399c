"""The parts of a running service, as requests find them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from fastapi import Request

from mambaad.serve.auth import Auth
from mambaad.serve.bundles import Bundles
from mambaad.serve.intake import Intake
from mambaad.serve.metrics import Metrics
from mambaad.serve.settings import ServeSettings
from mambaad.serve.store.images import ImageStore
from mambaad.serve.store.store import Store

_log = logging.getLogger("mambaad.serve")


class Changes:
    """Wakes those who wait for something new in the store, and at the end."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.is_ending = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self) -> None:
        """Wake them; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def end(self) -> None:
        """Wake them for the last time."""
        self.is_ending = True
        self.tell()

    def _wake(self) -> None:
        former, self._next = self._next, asyncio.Event()
        former.set()

    def next(self) -> asyncio.Event:
        """An event that is set at the next change."""
        return self._next


@dataclass
class Service:
    """What a request works with: ``request.app.state.service``.

    ``failure``: of what works beside the requests; None as long as all of it does.
    """

    settings: ServeSettings
    store: Store
    auth: Auth
    images: ImageStore
    bundles: Bundles
    metrics: Metrics
    intake: Intake
    changes: Changes = field(default_factory=Changes)
    failure: str | None = None

    def note_end(self, task: asyncio.Task[None]) -> None:
        """Have ``/readyz`` fail, and the log say why, if a task that never ends has failed."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failure = f"{type(error).__name__}: {error}"
            _log.error("a part of the service has ended", exc_info=error)


async def service_of(request: Request) -> Service:
    """A dependency of routes: the service."""
    service: Service = request.app.state.service
    return service
