"""Connections to the database, and its tables' versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from mambaad.errors import ConfigError, RunError
from mambaad.files import written_whole
from mambaad.serve.store.writer import StoreError, as_store_error

_LOCK = 0x6D616D6261  # "mamba": the number of PostgreSQL's advisory lock
_BUSY_SECONDS = 30
_SCRIPTS = Path(__file__).parent / "migrations"


def connect(url: str, *, writes: bool = False) -> Engine:
    """Make an engine for a database; SQLite in WAL mode, each commit flushed to disk.

    Args:
        url: of SQLAlchemy; ``postgresql://`` uses psycopg.
        writes: whether its transactions lock SQLite's file for writing when they begin.

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
        engine = create_engine(parsed, pool_size=1 if writes else 8, max_overflow=32)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"--database: {error}; expected such as postgresql://host/name") from None
    except ModuleNotFoundError:
        raise ConfigError("--database: run pip install 'mambaad[postgres]' for it") from None
    if backend == "sqlite":
        _set_up_sqlite(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
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


@contextmanager
def hold_lock(engine: Engine) -> Iterator[None]:
    """Hold PostgreSQL's lock that says that a service uses this database.

    SQLite's file is in the service's folder, which is locked.

    Raises:
        RunError: another service holds it.
        StoreError: there is no such database.
    """
    try:
        if engine.dialect.name == "sqlite":
            with engine.connect():
                pass
            held = None
        else:
            held = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"--database: {as_store_error(error)}") from error
    if held is None:
        yield
        return
    with closing(held):
        if not held.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": _LOCK}).scalar():
            raise RunError("another mambaad serve uses this database; end it, or choose another")
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # its end frees it too
                held.execute(text("SELECT pg_advisory_unlock(:n)"), {"n": _LOCK})


def migrate(engine: Engine, folder: Path, scripts: Path = _SCRIPTS) -> None:
    """Bring the tables to this version; SQLite's file is copied first if that changes it.

    Args:
        engine: of the database.
        folder: the copy is ``backups/<version before>.sqlite`` in it.
        scripts: the folder of the versions.

    Raises:
        StoreError: the tables are of a newer version, or cannot be changed.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    script = ScriptDirectory.from_config(config)
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


def _back_up(database: str, target: Path) -> None:
    """Copy a SQLite database as a whole, whatever its log holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_whole(target) as temporary,
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(temporary)) as copy,
    ):
        source.backup(copy)
