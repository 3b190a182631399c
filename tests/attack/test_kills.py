"""Commands killed once each at a moment drawn by lot; by hand it is hundreds of times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.conftest import SEED
from tests.attack.kills import Killer
from tests.attack.sandbox import Sandbox
from tests.attack.workshop import Workshop

QUICK = ("make-data", "train", "resume", "calibrate", "predict", "bundle", "registry add")


@pytest.fixture(scope="module")
def killer(
    sandbox: Sandbox, shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Killer]:
    yield Killer(sandbox, shop, tmp_path_factory.mktemp("kills"))
    assert shop.changed() == []


@pytest.mark.parametrize("name", QUICK)
def test_a_killed_command(killer: Killer, name: str) -> None:
    killed = killer.run(name, 0, SEED)
    assert not killed.outcome.wrong, str(killed)
