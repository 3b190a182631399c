"""The outbox: every inspection is sent to every sink at least once, in its own time.

What is to be sent is written in the transaction that keeps the inspection, and removed when the
receiver has taken it. A receiver may get the same one twice, after a crash between the two: the id
tells.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, Executable, Select, delete, func, select, update

from mambaad.files import printable
from mambaad.progress import say
from mambaad.serve.api.schemas import inspection_of
from mambaad.serve.metrics import Metrics
from mambaad.serve.service import Changes
from mambaad.serve.sinks.sink import Refused, Sink
from mambaad.serve.store.queries import Row
from mambaad.serve.store.rows import now, time_text
from mambaad.serve.store.store import Store
from mambaad.serve.store.tables import outbox
from mambaad.serve.store.writer import StoreError

_AT_A_TIME = 100
_LOOK_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # for a receiver that is not there
_LONGEST_WAIT = 64.0  # of an inspection that was refused
_IN_ORDER = 5  # attempts in which an inspection holds up those behind it


class Outbox:
    """Sends what waits in the outbox, to each sink by itself.

    While a receiver is not there everything waits in order, and it is looked for again after 0.5,
    1, 2, ... 30 seconds. What a receiver refuses waits by itself, 2, 4, ... 64 seconds, and holds
    up nothing; so does what could not be sent in five attempts, whatever the reason.

    Args:
        store: what waits there.
        changes: tell that something new may.
        metrics: get how many wait.
        sinks: by their names in the outbox; what waits for others stays.
    """

    def __init__(
        self, store: Store, changes: Changes, metrics: Metrics, sinks: Mapping[str, Sink]
    ) -> None:
        self._store, self._changes, self._metrics, self._sinks = store, changes, metrics, sinks
        self._problems: dict[str, str | None] = dict.fromkeys(sinks)

    def state(self) -> list[dict[str, Any]]:
        """How each sink fares, as ``/v1/sinks`` shows it."""
        found = []
        for name, problem in self._problems.items():
            last = (
                select(outbox.c.last_error)
                .where(outbox.c.sink == name, outbox.c.last_error.is_not(None))
                .order_by(outbox.c.id.desc())
                .limit(1)
            )
            problem = problem or self._read(last)
            found.append({"name": name, "waiting": self._count(name), "problem": problem})
        return found

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            await asyncio.gather(*(self._serve(name, sink) for name, sink in self._sinks.items()))
        finally:
            for sink in self._sinks.values():
                with suppress(Exception):  # what was sent was acknowledged
                    await sink.close()

    async def _serve(self, name: str, sink: Sink) -> None:
        pause = _FIRST_PAUSE
        while True:
            woken = self._changes.next()
            try:
                await sink.connect()
                sent = await self._send_due(name, sink)
            except StoreError:  # it says so itself, where parts come in
                sent = 0
            except Exception as error:  # whatever the receiver's library raises
                self._note(name, _reason(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            else:
                self._note(name, None)
                pause = _FIRST_PAUSE
            if not sent:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(woken.wait(), _LOOK_SECONDS)

    def _note(self, name: str, problem: str | None) -> None:
        """Keep why a receiver cannot be reached, and say it once."""
        former, self._problems[name] = self._problems[name], problem
        if problem and not former:
            say(f"{name} cannot be reached ({problem}); inspections wait")
        elif former and not problem:
            say(f"{name} is reached again")

    async def _send_due(self, name: str, sink: Sink) -> int:
        """Send what is due; returns how many were (raises what is not Refused)."""
        rows = await asyncio.to_thread(self._due, name)
        for start in range(0, len(rows), sink.at_once):
            some = rows[start : start + sink.at_once]
            for error in await asyncio.gather(*(self._send(row, sink) for row in some)):
                if error is not None:
                    raise error
        return len(rows)

    def _due(self, name: str) -> list[Row]:
        """What is to be sent now, each with its ``payload``."""
        query = (
            select(outbox)
            .where(outbox.c.sink == name, outbox.c.next_at <= now())
            .order_by(outbox.c.id)
            .limit(_AT_A_TIME)
        )
        self._metrics.outbox_waiting.labels(name).set(self._count(name))
        rows: list[Row]
        rows = self._store.read(lambda c: [dict(row) for row in c.execute(query).mappings()])
        for row in rows:
            inspection = self._store.inspection(row["event_id"])
            assert inspection is not None  # both are of one transaction
            row["payload"] = json.dumps(inspection_of(inspection), separators=(",", ":"))
        return rows

    def _count(self, name: str) -> int:
        query = select(func.count()).select_from(outbox).where(outbox.c.sink == name)
        return int(self._read(query))

    def _read(self, query: Select[Any]) -> Any:
        return self._store.read(lambda c: c.execute(query).scalar())

    async def _send(self, row: Row, sink: Sink) -> Exception | None:
        """Send one; returns why none can be sent now, if that is so."""
        failure: Exception | None = None
        try:
            await sink.send(row["event_id"], row["payload"])
            change: Executable = delete(outbox).where(outbox.c.id == row["id"])
        except Exception as error:  # whatever the receiver's library raises
            failure = None if isinstance(error, Refused) else error
            change = self._later(row, error)

        def apply(connection: Connection) -> None:
            connection.execute(change)

        try:
            await asyncio.wrap_future(self._store.write(apply))
        except StoreError as error:
            return error
        return failure

    def _later(self, row: Row, error: Exception) -> Executable:
        """What keeps one for another attempt."""
        attempts, is_refused = row["attempts"] + 1, isinstance(error, Refused)
        if is_refused and attempts == 1:
            say(f"{row['sink']} refuses {row['event_id']} ({_reason(error)}); it is tried again")
        seconds = 0.0
        if is_refused or attempts >= _IN_ORDER:
            seconds = min(2.0 ** min(attempts, 10), _LONGEST_WAIT)
        return (
            update(outbox)
            .where(outbox.c.id == row["id"])
            .values(
                attempts=attempts,
                last_error=_reason(error),
                next_at=time_text(datetime.now(timezone.utc) + timedelta(seconds=seconds)),
            )
        )


def _reason(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)[:500]
