"""Ray clusters of this machine, one after the other: two that start at once hinder each other."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mambaad.locks import locked


@pytest.fixture
def one_ray() -> Iterator[None]:
    """Wait until no other test has a Ray cluster."""
    with locked(Path(tempfile.gettempdir()) / "mambaad_one_ray", make=True, wait=600):
        yield
