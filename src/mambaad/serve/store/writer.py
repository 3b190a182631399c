"""The writer: one thread through which everything is written, in few transactions."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from mambaad.errors import MambaADError, RunError

T = TypeVar("T")
_MOST = 256  # of writes that share a transaction


class StoreError(MambaADError, RuntimeError):
    """The store cannot be written or read now; nothing of the request was kept."""


class StoreFull(StoreError):
    """There is no space left for the store; nothing of the request was kept."""


class StoreInUse(StoreError, RunError):
    """Another service writes to the database."""


class Writer:
    """Writes in the order of the calls; what waits shares one transaction.

    SQLite has one writer at a time in any case, and the time of a commit is that of the disk's
    flush: together, a hundred waiting inspections cost as much as one.

    Args:
        engine: each write gets one of its connections.
        committed: called in the writer's thread after each transaction.
    """

    def __init__(self, engine: Engine, committed: Callable[[], None]) -> None:
        self._engine = engine
        self._committed = committed
        self._waiting: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None]
        self._waiting = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[Connection], T]) -> Future[T]:
        """Queue a write; the future has its result once the transaction is on disk.

        The future raises what ``write`` raised, and then nothing of it is kept; or StoreError.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        with self._lock:
            if self._is_closed:
                future.set_exception(StoreError("the service is ending; try again later"))
            else:
                self._waiting.put((write, future))
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            batch = []
            found = self._waiting.get()
            while found is not None:
                batch.append(found)
                if len(batch) == _MOST:
                    break
                try:
                    found = self._waiting.get_nowait()
                except queue.Empty:
                    break
            is_ending = found is None
            if batch:
                self._write(batch)

    def _write(self, batch: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        failed: list[tuple[Future[Any], BaseException]] = []
        try:
            with self._engine.begin() as connection:
                for write, future in batch:
                    try:
                        with connection.begin_nested():
                            result = write(connection)
                    except Exception as error:
                        if not is_open(connection):  # all of the batch is gone
                            raise
                        is_known = not isinstance(error, DBAPIError)
                        failed.append((future, error if is_known else as_store_error(error)))
                    else:
                        if not is_open(connection):
                            raise StoreError("the store lost a transaction; try again")
                        done.append((future, result))
        except Exception as error:
            problem = as_store_error(error)
            failed = [(future, problem) for _, future in batch]
            done = []
        for future, result in done:
            future.set_result(result)
        for future, reason in failed:
            future.set_exception(reason)
        if done:
            self._committed()


def is_open(connection: Connection) -> bool:
    """Whether the transaction is still there, with what was written in it.

    An error may end more than its own statement: SQLite rolls the whole transaction back when it
    has no space or memory left, and what follows would be committed without what went before.
    """
    if connection.invalidated:
        return False
    held = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        return bool(getattr(held, "in_transaction", False))
    status = getattr(getattr(held, "info", None), "transaction_status", None)
    return getattr(status, "name", "") == "INTRANS"


def as_store_error(error: BaseException) -> StoreError:
    """Say in one line what a database's error means."""
    # SQLite ends the whole transaction where it is full, and so the savepoint's end fails too.
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, StoreError):
            return found
        cause = getattr(found, "orig", None) or found
        text = " ".join(str(cause).split()) or type(cause).__name__
        # SQLite: SQLITE_FULL, and what a full disk gives to its log; PostgreSQL: 53100.
        if getattr(cause, "sqlstate", None) == "53100" or any(
            sign in text for sign in ("is full", "No space left", "disk I/O error")
        ):
            return StoreFull(f"the store has no space left ({text}); free some space")
        found = found.__context__
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split()) or type(cause).__name__
    return StoreError(f"the store cannot be written ({text}); try again")
