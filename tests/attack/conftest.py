"""One sandbox a process that tests, one workshop for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.sandbox import Sandbox
from tests.attack.workshop import Workshop, make

SEED = 1

if sys.platform != "linux":  # processes are watched and limited as Linux does
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def shop(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Workshop:
    """All instances; nothing may change them."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    return make(shared / "workshop", sandbox)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for one test, which other users may enter."""
    tmp_path.chmod(0o755)
    return tmp_path
