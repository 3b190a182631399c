"""What a part is refused by before it costs anything, so that overload does not slow the rest.

A refused part would otherwise cost more than its answer: the framework's checks of the request, and
the parsing of a body that nobody reads.
"""

from __future__ import annotations

import asyncio

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mambaad.errors import MambaADError
from mambaad.serve.intake import Intake
from mambaad.serve.problems import problem_of

INSPECTIONS = "/v1/inspections"
HEADER_SECONDS = 10.0
"""How long the headers of a request may take."""


class Gate:
    """Refuses a part by its headers alone where there is no place for it, whoever sends it.

    Args:
        app: answers everything else.
        intake: has the places.
    """

    def __init__(self, app: ASGIApp, intake: Intake) -> None:
        self._app, self._intake = app, intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == INSPECTIONS:
            try:
                self._intake.check_place(_size(scope))
            except MambaADError as error:
                problem = problem_of(error)
                if problem.code == "queue_full":
                    self._intake.count_refused(problem)
                    await problem.response()(scope, receive, send)
                    return
                # What else there is comes after the check of who asks.
        await self._app(scope, receive, send)


def _size(scope: Scope) -> int:
    """The announced bytes of a body; 0 where they are unknown, and are checked later."""
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() and len(text) < 16 else 0


class Protocol(H11Protocol):
    """HTTP, but what is left of a body after its answer is counted instead of parsed.

    The connection can then be used again, and a client that reads the answer only after it has
    sent everything is not cut off. Connections beyond the limit, and those that send no whole
    headers in time, are closed: each holds a descriptor, which files need too.
    """

    _unread = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many connections."""
        super().connection_made(transport)
        most = self.config.limit_concurrency
        if most is not None and len(self.connections) > most:
            transport.close()
            return
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, or drop it."""
        self._parse(data)
        self._watch_headers()

    def _watch_headers(self) -> None:
        """Close the connection in a while, if the headers of a request are still to come then."""
        if self.conn.their_state is not h11.IDLE:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _parse(self, data: bytes) -> None:
        if not self._unread:
            self._unread = self._left()
            if not self._unread:
                super().data_received(data)
                return
        dropped = min(self._unread, len(data))
        self._unread -= dropped
        if self._unread:
            return
        self.conn = h11.Connection(h11.SERVER, *self._limit())
        if len(data) > dropped:
            super().data_received(data[dropped:])

    def _limit(self) -> tuple[int, ...]:
        most = self.config.h11_max_incomplete_event_size
        return () if most is None else (most,)

    def _left(self) -> int:
        """The bytes of a body that are still to come though it was answered; 0 if unknown."""
        if self.conn.our_state is not h11.DONE or self.conn.their_state is not h11.SEND_BODY:
            return 0
        # Where h11 keeps this number elsewhere, it parses the rest, which only takes longer.
        left = getattr(getattr(self.conn, "_reader", None), "_remaining", 0)
        return left if isinstance(left, int) else 0
