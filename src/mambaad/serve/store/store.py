"""The store: parts, inspections, decisions, settings and users, in SQLite or PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from mambaad.locks import locked
from mambaad.serve.store import audit, changes, queries
from mambaad.serve.store.database import connect, migrate, reach
from mambaad.serve.store.queries import Row
from mambaad.serve.store.rows import Decided, Filter, Job, NewInspection, NewPart, now
from mambaad.serve.store.tables import session, setting, user
from mambaad.serve.store.writer import StoreError, Writer, as_store_error

T = TypeVar("T")


class Store:
    """Everything that the service keeps but images, and the only way to change it.

    What changes something returns a future, done once the change is on disk (``.result()``, or
    ``await asyncio.wrap_future(...)``); it raises StoreFull or StoreError where nothing was kept.
    What reads returns at once what is on disk (StoreError). All can be called from any thread.

    Args:
        folder: of the service's data; locked, so that one service at a time uses it.
        url: an SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        RunError: another service uses the folder or the database.
        StoreError: the database cannot be opened, or is of a newer version.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._held = ExitStack()
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        try:
            self._held.enter_context(locked(folder, make=True))
            self.engine = connect(url)
            self._held.callback(self.engine.dispose)
            self._writing = connect(url, writes=True)
            self._held.callback(self._writing.dispose)
            reach(self._writing)
            migrate(self._writing, folder)
        except BaseException:
            self._held.close()
            raise
        self._writer = Writer(self._writing, self._tell)

    def close(self) -> None:
        """Write what waits, and free the folder."""
        self._writer.close()
        self._held.close()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Have something called, in the writer's thread, whenever something new is on disk."""
        with self._lock:
            self._listeners.append(listener)

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def write(self, change: Callable[[Connection], T]) -> Future[T]:
        """Have the writer call a function in its transaction; see :class:`Writer`."""
        return self._writer.submit(change)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Call a function with a connection that only reads (StoreError)."""
        try:
            with self.engine.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            raise StoreError(str(as_store_error(error)).replace("written", "read")) from error

    # Parts and inspections.

    def add_inspection(
        self, part: NewPart, inspection: NewInspection, sinks: Iterable[str] = ()
    ) -> Future[str]:
        """Keep a part with its inspection; see :func:`changes.add_inspection`."""
        return self.write(lambda c: changes.add_inspection(c, part, inspection, tuple(sinks)))

    def add_job(self, job: Job) -> Future[str]:
        """Keep a part to be inspected later; its job ends when its inspection is added."""
        return self.write(lambda c: changes.add_job(c, job))

    def jobs(self) -> list[Job]:
        """The parts that were accepted and not inspected yet, oldest first."""
        return self.read(queries.list_jobs)

    def job(self, inspection_id: str) -> Job | None:
        """A part that waits for this inspection; None if there is none."""
        return self.read(lambda c: queries.find_job(c, inspection_id))

    def has_part(self, part_id: str) -> bool:
        """Whether a part has a record."""
        return self.read(lambda c: queries.has_part(c, part_id))

    def known_files(self, folder: str, names: Sequence[str]) -> set[str]:
        """Of names in a folder of images, those of parts with a record."""
        return self.read(lambda c: queries.find_known(c, folder, names))

    def state_of(self, part_id: str) -> Future[Literal["kept", "waiting"] | None]:
        """Whether a part has a record or a job, after all that was to be written before.

        Asked by the writer, whose connection holds the lock: what a lost connection had begun is
        then either there or will never be.
        """
        return self.write(lambda c: queries.find_state(c, part_id))

    def has_image(self, sha256: str) -> bool:
        """Whether a part with a record has an image of this digest."""
        return self.read(lambda c: queries.has_image(c, sha256))

    def request_of(self, key: str) -> tuple[str, str] | None:
        """The request's digest and the inspection of an Idempotency-Key; None if it is new."""
        return self.read(lambda c: queries.find_key(c, key))

    def inspection(self, inspection_id: str) -> Row | None:
        """An inspection with its part and the state of its review; None if there is none.

        A row has the columns of ``inspection`` (``record`` parsed), of ``part`` (without its id and
        key), and ``decision``, ``decision_id`` (to be superseded by the next one), ``differs``,
        ``in_review``, ``review_reason``.
        """
        return self.read(lambda c: queries.find_inspection(c, inspection_id))

    def inspections(
        self, wanted: Filter | None = None, *, before: str | None = None, limit: int = 50
    ) -> list[Row]:
        """Inspections as :meth:`inspection` gives them, newest first, older than ``before``."""
        filtered = wanted or Filter()
        return self.read(
            lambda c: queries.list_inspections(c, filtered, before=before, limit=limit)
        )

    def counts(self, wanted: Filter | None = None) -> dict[str, int]:
        """The number of inspections of each verdict (or ``error``, ``none``)."""
        return self.read(lambda c: queries.count_verdicts(c, wanted or Filter()))

    # Review.

    def review_queue(
        self, *, product: str | None = None, after: str | None = None, limit: int = 50
    ) -> list[Row]:
        """Parts that wait for a person, oldest first, newer than ``after``."""
        return self.read(
            lambda c: queries.list_review(c, product=product, after=after, limit=limit)
        )

    def review_length(self) -> int:
        """The number of parts that wait for a person."""
        return self.read(queries.count_review)

    def decide(
        self,
        inspection_id: str,
        decided: Decided,
        *,
        actor: str,
        note: str = "",
        supersedes: str | None = None,
    ) -> Future[dict[str, Any]]:
        """Keep a decision; see :func:`changes.add_decision` (NotFound, Conflict)."""
        return self.write(
            lambda c: changes.add_decision(c, inspection_id, decided, note, actor, supersedes)
        )

    def decisions(self, inspection_id: str) -> list[Row]:
        """All decisions about a part, oldest first."""
        return self.read(lambda c: queries.list_decisions(c, inspection_id))

    # Events: the audit trail.

    def events(self, after: int, kinds: Sequence[str], limit: int = 100) -> list[Row]:
        """What happened after an event: ``seq``, ``at``, ``actor``, ``kind``, ``subject``."""
        return self.read(lambda c: queries.list_events(c, after, kinds, limit))

    def last_event(self) -> int:
        """The number of the last event; 0 if there is none."""
        return self.read(queries.last_event)

    def head(self) -> tuple[int, str]:
        """The number and hash of the audit trail's last row: what a witness notes."""
        return self.read(audit.head)

    def verify(self, witness: str | None = None) -> audit.Verified:
        """Check the audit trail; see :func:`audit.verify`."""
        return audit.verify(self.engine, witness)

    # Settings of products, bundles, users.

    def put_setting(self, product: str, content: Mapping[str, Any], *, actor: str) -> Future[int]:
        """Replace the settings of a product; gives their version."""
        return self.write(lambda c: changes.put_setting(c, product, content, actor))

    def setting(self, product: str) -> Row | None:
        """The settings of a product: the columns of ``setting``; None if there are none."""
        return self._one(select(setting).where(setting.c.product == product))

    def settings(self) -> dict[str, str]:
        """The settings of all products, as JSON by name."""
        query = select(setting.c.product, setting.c.content)
        return self.read(lambda c: {row.product: row.content for row in c.execute(query)})

    def add_bundle_use(
        self, action: str, version: int | None, sha256: str, *, actor: str
    ) -> Future[None]:
        """Note that a bundle went into use (``start``, ``promote``, ``rollback``)."""
        return self.write(lambda c: changes.add_bundle_use(c, action, version, sha256, actor))

    def put_user(self, name: str, role: str, password: str, *, actor: str) -> Future[None]:
        """Add or replace a user; ``password`` is argon2's form of it."""
        return self.write(lambda c: changes.put_user(c, name, role, password, actor))

    def remove_user(self, name: str, *, actor: str) -> Future[None]:
        """Remove a user (NotFound)."""
        return self.write(lambda c: changes.remove_user(c, name, actor))

    def users(self) -> list[Row]:
        """All users: ``name``, ``role``, ``at``."""
        query = select(user.c.name, user.c.role, user.c.at).order_by(user.c.name)
        return self.read(lambda c: [dict(row) for row in c.execute(query).mappings()])

    def user(self, name: str) -> Row | None:
        """A user with ``password``; None if there is none."""
        return self._one(select(user).where(user.c.name == name))

    def add_session(self, id: str, user_name: str, csrf: str, expires_at: str) -> Future[None]:
        """Keep a session; ``id`` is the SHA-256 of its cookie."""
        return self.write(lambda c: changes.add_session(c, id, user_name, csrf, expires_at))

    def remove_session(self, id: str) -> Future[None]:
        """End a session."""
        return self.write(lambda c: changes.remove_session(c, id))

    def session(self, id: str) -> Row | None:
        """A session that has not expired: ``user_name``, ``csrf``, ``role``; None otherwise."""
        return self._one(
            select(session.c.user_name, session.c.csrf, user.c.role)
            .join(user, user.c.name == session.c.user_name)
            .where(session.c.id == id, session.c.expires_at > now())
        )

    def _one(self, query: Any) -> Row | None:
        def first(connection: Connection) -> Row | None:
            found = connection.execute(query).mappings().first()
            return dict(found) if found else None

        return self.read(first)
