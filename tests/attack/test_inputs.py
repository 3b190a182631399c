"""Malformed files of every kind that is read: refused in one line, or without any effect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.conftest import SEED
from tests.attack.inputs import Fuzzer
from tests.attack.sandbox import Sandbox
from tests.attack.targets import TARGETS
from tests.attack.workshop import Workshop

CASES = {1.0: 7, 2.0: 4, 4.0: 3, 5.0: 3, 8.0: 2, 20.0: 1}
"""How many cases of a target are tried here, by what one costs; by hand there are thousands."""


@pytest.fixture(scope="module")
def fuzzer(
    sandbox: Sandbox, shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fuzzer]:
    yield Fuzzer(sandbox, shop, tmp_path_factory.mktemp("cases"), limit=30)
    assert shop.changed() == []


@pytest.mark.parametrize("name", TARGETS)
def test_a_malformed_file(fuzzer: Fuzzer, name: str) -> None:
    target = TARGETS[name]
    if not fuzzer.exists(target):
        pytest.skip(f"no {target.file} is written by this version")
    cases = [fuzzer.run(name, number, SEED) for number in range(CASES[target.cost])]
    wrong = [case for case in cases if case.outcome.wrong]
    assert not wrong, "\n".join(map(str, wrong))


def test_all_cases_are_as_many_as_promised() -> None:
    assert sum(CASES[target.cost] for target in TARGETS.values()) >= 300
