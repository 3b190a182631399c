"""Stated false-alarm rates, on parts whose truth is known: the synthetic factory's."""

import numpy as np
import pytest
from scipy import stats

import mambaad
from mambaad.data.synthetic.factory import make_data
from mambaad.inspection.thresholds import conformal_threshold
from tests.conftest import SMALL_BASE

PRODUCTS = ("bottle", "tile")
NEW, CALIBRATED, SEEDS = 150, 60, 300


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Of good parts that the model has not seen, by product."""
    root = tmp_path_factory.mktemp("factory")
    make_data(root / "data", list(PRODUCTS), train=10 + NEW, test=2, size=64)
    good = {name: sorted((root / "data" / name / "train" / "good").iterdir()) for name in PRODUCTS}
    later = {}
    for name, paths in good.items():
        (root / name).mkdir()
        later[name] = [path.rename(root / name / path.name) for path in paths[10:]]
    run = mambaad.train(root / "data", root / "run", **SMALL_BASE)
    inspector = mambaad.Inspector(run)
    return {
        name: np.array([p.score for p in inspector.inspect_many(paths, name)])
        for name, paths in later.items()
    }


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("asked", [0.05, 0.1])
def test_as_many_new_good_parts_are_above_as_stated(scores, product, asked):
    rates, inside = [], 0
    for seed in range(SEEDS):
        drawn = np.random.default_rng(seed).permutation(scores[product])
        threshold = conformal_threshold(drawn[:CALIBRATED], asked)
        alarms = int((drawn[CALIBRATED:] > threshold.value).sum())
        above = round(threshold.rate * (CALIBRATED + 1))
        count = stats.betabinom(NEW - CALIBRATED, above, CALIBRATED + 1 - above)
        low, high = count.interval(0.95)
        inside += low <= alarms <= high
        rates.append(alarms / (NEW - CALIBRATED))
    # All divisions share the same 150 parts, so their mean is sure to a standard error of its own.
    assert np.mean(rates) == pytest.approx(threshold.rate, abs=0.15 * threshold.rate + 0.003)
    assert inside / SEEDS >= 0.95
