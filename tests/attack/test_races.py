"""Two processes at once, each pair once; by hand it is many times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.conftest import SEED
from tests.attack.races import RACES, run_race
from tests.attack.sandbox import Sandbox
from tests.attack.workshop import Workshop

QUICK = [name for name in RACES if name not in ("two_calibrations", "run_exchanged")]


@pytest.mark.parametrize("name", QUICK)
def test_two_at_once(sandbox: Sandbox, shop: Workshop, place: Path, name: str) -> None:
    assert run_race(name, 0, SEED, sandbox, shop, place) == []
    assert shop.changed() == []
