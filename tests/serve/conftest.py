"""A bundle, stores on both databases, and a running service."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import mambaad
from mambaad.serve.app import create_app
from mambaad.serve.settings import make_settings
from mambaad.serve.store.store import Store

BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def line(calibrated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle; not to be changed."""
    path = tmp_path_factory.mktemp("line") / "line.mambaad"
    mambaad.bundle(calibrated_run, path)
    return path


@pytest.fixture(scope="session")
def uncalibrated(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle, of another model without verdicts; not to be changed."""
    path = tmp_path_factory.mktemp("line") / "other.mambaad"
    mambaad.bundle(trained_run, path)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """PostgreSQL's URL without a database's name: a server of its own on a Unix socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = shutil.which("postgres") or (str(found[-1]) if found else None)
    if program is None:
        pytest.skip("needs PostgreSQL's server, which is not on this machine")
    tools = found[-1].parent if found else Path(program).resolve().parent
    # PostgreSQL refuses to run as root.
    other = {"user": "postgres", "group": "postgres", "extra_groups": []}
    as_user = other if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="mambaad-pg-"))
    try:
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        options = {"cwd": folder, "capture_output": True, **as_user}
        data = folder / "data"
        subprocess.run(
            [tools / "initdb", "-D", data, "-A", "trust", "-U", "test", "--no-sync"],
            check=True,
            **options,
        )
        settings = f"-c listen_addresses='' -c fsync=off -k {folder}"
        control = [tools / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        subprocess.run([*control, "-o", settings, "start"], check=True, **options)
        try:
            yield f"postgresql://test@/{{}}?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=False, **options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    return empty_database(request, tmp_path)


def empty_database(request: pytest.FixtureRequest, folder: Path) -> str:
    """Make an empty database of the kind that a fixture's parameter says; returns its URL."""
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'test.sqlite'}"
    import psycopg

    url = request.getfixturevalue("postgres")
    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.format(name)


@pytest.fixture
def store(tmp_path: Path, database: str) -> Iterator[Store]:
    """An empty store."""
    opened = Store(tmp_path / "data", database)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def service(line: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with one inference process, open to this machine."""
    settings = make_settings(
        bundle=line,
        data=tmp_path_factory.mktemp("service"),
        mode="throughput",
        workers=1,
        review_share=1.0,
        min_free_mb=1.0,
        rate=10_000.0,
    )
    with TestClient(create_app(settings), base_url=BASE, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def good(many_parts: Path) -> bytes:
    """The file of a good part."""
    return (many_parts / "bolt" / "test" / "good" / "000.png").read_bytes()


@pytest.fixture(scope="session")
def defective(many_parts: Path) -> bytes:
    """The file of a defective part."""
    return (many_parts / "bolt" / "test" / "spot" / "000.png").read_bytes()
