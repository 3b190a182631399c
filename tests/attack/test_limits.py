"""Little memory, few descriptors, small files, full disks and other users, each once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.attack.conftest import SEED
from tests.attack.limits import LIMITS, run_limit
from tests.attack.sandbox import Sandbox
from tests.attack.workshop import Workshop

ROOTS = ("full_disk", "full_temporary_folder", "foreign_user", "closed_folder")


@pytest.mark.parametrize("name", LIMITS)
def test_within_a_limit(sandbox: Sandbox, shop: Workshop, place: Path, name: str) -> None:
    if name in ROOTS and os.getuid():
        pytest.skip("takes root: mounts a disk, or becomes another user")
    assert run_limit(name, 0, SEED, sandbox, shop, place) == []
    assert shop.changed() == []
