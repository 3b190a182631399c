"""The simulation of very many images, against cases whose outcome is known."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "scale.py"
# 0.1 s an image; 10 s until a worker is ready.
RATES = {
    "device": "cpu",
    "megabytes": 1.0,
    "reading": 0.01,
    "decoding": 0.02,
    "inference": 0.06,
    "writing": 0.01,
    "spread": 0.0,
    "start": 10.0,
}


@pytest.fixture(scope="module")
def scale():
    specification = importlib.util.spec_from_file_location("benchmarks_scale", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules["benchmarks_scale"] = module  # where its dataclasses look for their types
    specification.loader.exec_module(module)
    yield module
    del sys.modules["benchmarks_scale"]


def cluster(scale, **changes):
    given = {"images": 64_000, "cores": 10, "shard": 100, "cores_a_machine": 2, **changes}
    return scale.Cluster(**given)


def test_without_accidents_it_is_the_arithmetic(scale):
    found = scale.simulate(RATES, cluster(scale), seed=0)
    # 640 shards of 10 s by 10 workers: 64 rounds, after a start of 10 s.
    assert found.hours == pytest.approx((64 * 10 + 10) / 3600)
    assert found.efficiency == pytest.approx(640 / 650)
    assert (found.tail, found.lost, found.again, found.failures) == (0, 0, 0, 0)
    assert found.done[-1][1] == 64_000


def test_all_shards_are_done_once_whatever_fails(scale):
    calm = scale.simulate(RATES, cluster(scale), seed=0)
    found = scale.simulate(
        RATES, cluster(scale, process_mtbf=300.0, machine_mtbf=1000.0, machine_back=60.0), seed=0
    )
    assert found.failures > 10
    assert 0 < found.again <= 2 * found.failures
    assert found.hours > calm.hours
    assert found.lost > 0
    assert found.done[-1][1] == 64_000


def test_the_same_seed_gives_the_same_and_another_does_not(scale):
    case = cluster(scale, process_mtbf=300.0, slow=0.3)
    one, again, other = (scale.simulate({**RATES, "spread": 0.05}, case, s) for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_store_bounds_the_rate(scale):
    # 10 workers ask for 100 MB/s. One reads at 100 MB/s: the store serves one at a time at 50.
    found = scale.simulate(RATES, cluster(scale, store_rate=100.0), seed=0)
    assert found.hours == pytest.approx((640 + 10) / 3600, rel=0.02)
    # A machine in two of twice the time: 5 machines.
    bound = scale.simulate({**RATES, "reading": 0.02}, cluster(scale, store_rate=50.0), seed=0)
    assert bound.hours >= 64_000 * 0.02 / 3600
    assert bound.waited > 0


def test_slow_machines_take_fewer_shards(scale):
    # All slow: twice the time for all but reading.
    found = scale.simulate(RATES, cluster(scale, slow=1.0), seed=0)
    assert found.hours == pytest.approx((20 + 64 * 100 * (0.01 + 2 * 0.09)) / 3600)
    # Some: the others take over, so that it is less than if each had its tenth of the work.
    some = scale.simulate(RATES, cluster(scale, slow=0.3), seed=1)
    assert 650 / 3600 < some.hours < found.hours


def test_large_shards_have_a_long_tail(scale):
    small, large = (
        scale.simulate({**RATES, "spread": 0.05}, cluster(scale, shard=s, slow=0.4), seed=1)
        for s in (100, 3200)
    )
    assert large.tail > 4 * small.tail
