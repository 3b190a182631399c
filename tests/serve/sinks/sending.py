"""An outbox over a real store that sends to real receivers, without inference."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select

from mambaad.serve.metrics import Metrics
from mambaad.serve.service import Changes
from mambaad.serve.sinks.outbox import Outbox
from mambaad.serve.sinks.sink import Sink
from mambaad.serve.store.store import Store
from mambaad.serve.store.tables import outbox
from tests.serve.rows import new_rows


class Sending:
    """Runs an outbox in an event loop of its own until it is closed."""

    def __init__(self, data: Path, sinks: Mapping[str, Sink]) -> None:
        self.store = Store(data, f"sqlite:///{data / 'store.sqlite'}")
        self._sinks, changes = sinks, Changes()
        self.metrics = Metrics()
        self.outbox = Outbox(self.store, changes, self.metrics, sinks)
        self._loop = asyncio.new_event_loop()
        self._loop.call_soon(changes.attach)
        self.store.on_commit(changes.tell)
        self._task = self._loop.create_task(self.outbox.run())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(asyncio.gather(self._task, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def add(self, count: int, **options: object) -> set[str]:
        """Keep parts; returns the ids of their inspections."""
        rows = [new_rows(**options) for _ in range(count)]
        futures = [self.store.add_inspection(*row, tuple(self._sinks)) for row in rows]
        return {future.result(20) for future in futures}

    def waiting(self) -> int:
        return sum(one["waiting"] for one in self.outbox.state())

    def waiting_ids(self) -> set[str]:
        return set(self.store.read(lambda c: c.execute(select(outbox.c.event_id)).scalars().all()))

    def problem(self) -> str | None:
        return self.outbox.state()[0]["problem"]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.store.close()
