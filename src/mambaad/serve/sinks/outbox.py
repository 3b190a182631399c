"""The outbox: every inspection is sent to every sink at least once, in its own time.

What is to be sent is written in the transaction that keeps the inspection, and removed when the
receiver has taken it. A receiver may get the same one twice, after a crash between the two: the id
tells.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Protocol

from sqlalchemy import Connection, Executable, delete, select, update

from mambaad.files import printable
from mambaad.serve.api.schemas import inspection_of
from mambaad.serve.service import Service
from mambaad.serve.settings import ServeSettings
from mambaad.serve.sinks.webhook import Webhook
from mambaad.serve.store.queries import Row
from mambaad.serve.store.rows import now, time_text
from mambaad.serve.store.tables import outbox
from mambaad.serve.store.writer import StoreError

_AT_A_TIME = 50
_LOOK_SECONDS = 5.0
_LONGEST_PAUSE = 300.0


class Sink(Protocol):
    """A receiver of inspections."""

    async def send(self, event_id: str, payload: str) -> None:
        """Send an inspection as JSON; returns once the receiver has it, raises if it has not."""

    async def close(self) -> None:
        """End its connections."""


def make_sinks(settings: ServeSettings) -> dict[str, Sink]:
    """The sinks of a service, by their names in the outbox."""
    return {"webhook": Webhook(settings.webhook)} if settings.webhook else {}


class Outbox:
    """Sends what waits in the outbox.

    Args:
        service: whose store has it.
        sinks: by name; what waits for others stays.
    """

    def __init__(self, service: Service, sinks: Mapping[str, Sink]) -> None:
        self._service, self._sinks = service, sinks

    async def run(self) -> None:
        """Send until cancelled, each sink on its own."""
        try:
            await asyncio.gather(*(self._serve(name, sink) for name, sink in self._sinks.items()))
        finally:
            for sink in self._sinks.values():
                await sink.close()

    async def _serve(self, name: str, sink: Sink) -> None:
        while True:
            woken = self._service.changes.next()
            try:
                rows = await asyncio.to_thread(self._due, name)
                for row in rows:
                    await self._send(row, sink)
            except StoreError:
                rows = []
            if not rows:
                try:
                    await asyncio.wait_for(woken.wait(), _LOOK_SECONDS)
                except asyncio.TimeoutError:
                    continue

    def _due(self, name: str) -> list[Row]:
        query = (
            select(outbox)
            .where(outbox.c.sink == name, outbox.c.next_at <= now())
            .order_by(outbox.c.id)
            .limit(_AT_A_TIME)
        )
        return self._service.store.read(
            lambda c: [dict(row) for row in c.execute(query).mappings()]
        )

    async def _send(self, row: Row, sink: Sink) -> None:
        store = self._service.store
        inspection = await asyncio.to_thread(store.inspection, row["event_id"])
        assert inspection is not None  # both are of one transaction
        payload = json.dumps(inspection_of(inspection), separators=(",", ":"))
        try:
            await sink.send(row["event_id"], payload)
        except Exception as error:  # whatever the receiver's library raises
            attempts = row["attempts"] + 1
            pause = timedelta(seconds=min(2.0**attempts, _LONGEST_PAUSE))
            reason = printable(str(error) or type(error).__name__)[:500]
            values = {
                "attempts": attempts,
                "last_error": reason,
                "next_at": time_text(datetime.now(timezone.utc) + pause),
            }
            change: Executable = update(outbox).where(outbox.c.id == row["id"]).values(**values)
        else:
            change = delete(outbox).where(outbox.c.id == row["id"])

        def apply(connection: Connection) -> None:
            connection.execute(change)

        await asyncio.wrap_future(store.write(apply))
