"""The tables' versions, and the settings of connections."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from mambaad.errors import ConfigError
from mambaad.serve.store import database as module
from mambaad.serve.store.database import connect, migrate
from mambaad.serve.store.store import Store
from mambaad.serve.store.tables import metadata
from mambaad.serve.store.writer import StoreError
from tests.serve.rows import add

NEXT = '''"""A column more."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add it."""
    op.add_column("part", sa.Column("more", sa.Text()))
'''


def test_the_migrations_make_the_tables(store):
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_store_of_a_former_version_is_copied_and_changed(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(tmp_path, url)
    part = add(store)
    store.close()
    scripts = Path(shutil.copytree(Path(module.__file__).parent / "migrations", tmp_path / "next"))
    (scripts / "versions" / "0002_more.py").write_text(NEXT)
    engine = connect(url)
    migrate(engine, tmp_path, scripts)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT more FROM part")).all()
    assert rows == [(None,)]
    engine.dispose()
    copy = sqlite3.connect(tmp_path / "backups" / "0001.sqlite")
    assert copy.execute("SELECT id FROM inspection").fetchall() == [(part,)]
    copy.close()
    with pytest.raises(StoreError, match="version 0002, newer than this one"):
        Store(tmp_path, url)


def test_sqlite_flushes_every_commit_into_its_log(tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with engine.connect() as connection:
        found = [
            connection.execute(text(f"PRAGMA {p}")).scalar()
            for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()
    assert found == ["wal", 2, 1]


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "sqlite+nonsense:///a"])
def test_another_database_is_refused(url):
    with pytest.raises(ConfigError, match="--database"):
        connect(url)


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/a.sqlite", "postgresql://x@/y?host=/nowhere&connect_timeout=1"]
)
def test_a_database_that_is_not_there_is_one_line(tmp_path, url):
    with pytest.raises(StoreError) as caught:
        Store(tmp_path, url)
    assert "\n" not in str(caught.value)
    Store(tmp_path, f"sqlite:///{tmp_path / 'a.sqlite'}").close()  # the folder is free again
