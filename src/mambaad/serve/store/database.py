"""Connections to the database, and its tables' versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from mambaad.errors import ConfigError
from mambaad.files import written_whole
from mambaad.serve.store.writer import StoreError, StoreInUse, as_store_error

_LOCK = 0x6D616D6261  # "mamba": the number of PostgreSQL's advisory lock
_BUSY_SECONDS = 30
_SCRIPTS = Path(__file__).parent / "migrations"


def connect(url: str, *, writes: bool = False) -> Engine:
    """Make an engine for a database; SQLite in WAL mode, each commit flushed to disk.

    Args:
        url: of SQLAlchemy; ``postgresql://`` uses psycopg.
        writes: one connection, whose transactions lock SQLite's file for writing when they begin,
            and which holds PostgreSQL's lock of the one service that writes (StoreInUse).

    Raises:
        ConfigError: another kind of database, or a URL that is none.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ConfigError(f"--database: expected sqlite or postgresql, got {backend}")
        size, more = (1, 0) if writes else (8, 32)
        # Asked whether it lives: a server that was started again has ended all connections.
        engine = create_engine(
            parsed, pool_size=size, max_overflow=more, pool_pre_ping=backend == "postgresql"
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"--database: {error}; expected such as postgresql://host/name") from None
    except ModuleNotFoundError:
        raise ConfigError("--database: run pip install 'mambaad[postgres]' for it") from None
    if backend == "sqlite":
        _set_up_sqlite(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        _hold_lock(engine)
    return engine


def _set_up_sqlite(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # Python would begin transactions of its own
        for pragma in (
            f"busy_timeout = {_BUSY_SECONDS * 1000}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)


def _hold_lock(engine: Engine) -> None:
    """Have each of an engine's connections hold the lock of the one service that writes.

    PostgreSQL frees it when it ends the connection, and with it whatever that has begun. So as
    long as all is written through such connections, no two services can write at a time, even
    where one has lost its connection and does not know it yet. SQLite's file is in the service's
    folder, which is locked.
    """

    @event.listens_for(engine, "connect")
    def lock(connection: Any, _: Any) -> None:
        held = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        connection.commit()
        if not held[0]:
            connection.close()
            raise StoreInUse(
                "another mambaad serve uses this database; end it, or choose another database"
            )


def reach(engine: Engine) -> None:
    """Make the first connection (StoreInUse; StoreError: there is no such database)."""
    try:
        with engine.connect():
            pass
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"--database: {as_store_error(error)}") from error


@contextmanager
def existing(url: str) -> Iterator[Engine]:
    """Open a store that is there, to read it; nothing is created or changed.

    Raises:
        ConfigError: see :func:`connect`.
        StoreError: there is none, it cannot be reached, or it is of another version.
    """
    engine = connect(url)
    try:
        file = engine.url.database
        if engine.dialect.name == "sqlite" and not (file and Path(file).is_file()):
            raise StoreError(f"there is no store in {file}; give --data or --database")
        reach(engine)
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        head = _versions(_SCRIPTS)[1].get_current_head()
        if found is None:
            raise StoreError("the database has no store; give --data or --database")
        if found != head:
            raise StoreError(
                f"the store has version {found}, this mambaad reads {head}; start the service "
                "once, or update mambaad"
            )
        yield engine
    except SQLAlchemyError as error:
        raise StoreError(str(as_store_error(error)).replace("written", "read")) from error
    finally:
        engine.dispose()


def migrate(engine: Engine, folder: Path, scripts: Path = _SCRIPTS) -> None:
    """Bring the tables to this version; SQLite's file is copied first if that changes it.

    Args:
        engine: of the database.
        folder: the copy is ``backups/<version before>.sqlite`` in it.
        scripts: the folder of the versions.

    Raises:
        StoreError: the tables are of a newer version, or cannot be changed.
    """
    config, script = _versions(scripts)
    head = script.get_current_head()
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found == head:
            return
        known = {revision.revision for revision in script.walk_revisions()}
        if found and found not in known:
            raise StoreError(f"the store has version {found}, newer than this one; update mambaad")
        if found and engine.dialect.name == "sqlite":
            _back_up(str(engine.url.database), folder / "backups" / f"{found}.sqlite")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise as_store_error(error) from error


def _versions(scripts: Path) -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(scripts))
    return config, ScriptDirectory.from_config(config)


def _back_up(database: str, target: Path) -> None:
    """Copy a SQLite database as a whole, whatever its log holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(target) as temporary,
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(temporary)) as copy,
    ):
        source.backup(copy)
