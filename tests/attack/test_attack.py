"""What the attack by hand does thousands of times, some 300 times: see README.md.

In one file, so that one process imports the package and makes the instances for all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.inputs import Fuzzer
from tests.attack.kills import Killer
from tests.attack.limits import LIMITS, run_limit
from tests.attack.races import RACES, run_race
from tests.attack.sandbox import Sandbox
from tests.attack.targets import TARGETS
from tests.attack.workshop import Workshop, make

SEED = 1
CASES = {1.0: 7, 2.0: 4, 4.0: 3, 5.0: 3, 6.0: 1, 8.0: 1, 20.0: 1}
"""How many malformed files of a target are tried, by what a case of it costs."""

KILLED = ("make-data", "train", "calibrate", "predict", "bundle", "registry add")
RACING = [name for name in RACES if name not in ("two_calibrations", "run_exchanged")]
DISKS = ("full_disk", "full_temporary_folder")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attack")


@pytest.fixture(scope="module")
def sandbox(room: Path) -> Iterator[Sandbox]:
    made = Sandbox(room / "sandbox")
    yield made
    made.close()


@pytest.fixture(scope="module")
def shop(sandbox: Sandbox, room: Path) -> Iterator[Workshop]:
    """All instances, which nothing may change."""
    made = make(room / "workshop", sandbox, whole=False)
    yield made
    assert made.changed() == []


@pytest.fixture(scope="module")
def fuzzer(sandbox: Sandbox, shop: Workshop, room: Path) -> Fuzzer:
    return Fuzzer(sandbox, shop, room / "cases", limit=30)


@pytest.fixture(scope="module")
def killer(sandbox: Sandbox, shop: Workshop, room: Path) -> Killer:
    return Killer(sandbox, shop, room / "kills")


@pytest.mark.parametrize("name", TARGETS)
def test_malformed_files_are_refused_in_one_line_or_have_no_effect(
    fuzzer: Fuzzer, name: str
) -> None:
    target = TARGETS[name]
    if not fuzzer.exists(target):
        assert target.needs, f"{target.file} is no longer written"
        pytest.skip(f"its instance is not made here: {target.needs}")
    cases = [fuzzer.run(name, number, SEED) for number in range(CASES[target.cost])]
    wrong = [case for case in cases if case.outcome.wrong]
    assert not wrong, "\n".join(map(str, wrong))


def test_there_are_as_many_cases_as_the_documents_say() -> None:
    assert sum(CASES[target.cost] for target in TARGETS.values()) >= 300


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_command_leaves_nothing_and_works_again(killer: Killer, name: str) -> None:
    killed = killer.run(name, 0, SEED)
    assert not killed.outcome.wrong, str(killed)


@pytest.mark.parametrize("name", RACING)
def test_two_processes_at_once_mix_nothing(
    sandbox: Sandbox, shop: Workshop, room: Path, name: str
) -> None:
    assert run_race(name, 0, SEED, sandbox, shop, room) == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_said_in_one_line(
    sandbox: Sandbox, shop: Workshop, room: Path, name: str
) -> None:
    if name in DISKS and os.getuid():
        pytest.skip("takes root, to mount a disk")
    assert run_limit(name, 0, SEED, sandbox, shop, room) == []
