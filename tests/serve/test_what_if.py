import numpy as np
import pytest

from mambaad.inspection.thresholds import conformal_threshold
from mambaad.serve.what_if import Change, Scored, changes, stated
from mambaad.types import Verdict

SCORES = np.random.default_rng(0).random(99)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_a_conformal_threshold_has_its_own_rate(rate):
    threshold = conformal_threshold(SCORES, rate)
    found = stated(SCORES, threshold.value)
    assert found.rate == pytest.approx(threshold.rate)
    assert found.interval == pytest.approx(threshold.interval)


def test_the_rate_holds_for_later_parts():
    random = np.random.default_rng(1)
    rates, exceeded = [], []
    for _ in range(2000):
        scores = random.random(40)
        found = stated(scores, 0.9)
        rates.append(found.rate)
        exceeded.append(random.random() > 0.9)
    assert np.mean(exceeded) <= np.mean(rates) + 0.01


def test_the_rate_beyond_all_scores():
    assert stated(SCORES, 2.0).rate == pytest.approx(0.01)
    assert stated(SCORES, -1.0).rate == 1.0
    assert stated(SCORES, -1.0).interval[1] == 1.0


def test_what_yesterday_would_have_been():
    parts = [
        Scored(Verdict.PASS, 0.1),
        Scored(Verdict.PASS, 0.18, decision="defective"),
        Scored(Verdict.PASS, 0.3, is_small=True),
        Scored(Verdict.REVIEW, 0.25, 0.25, "good"),
        Scored(Verdict.REVIEW, 0.38, 0.38),
        Scored(Verdict.FAIL, 0.9, 0.5, "defective"),  # its highest region was too small
    ]
    same = changes(parts, 0.2, 0.4)
    assert (same.total, same.rows) == (6, ())
    found = changes(parts, 0.15, 0.35)
    assert found.rows == (Change("PASS", "REVIEW", 1, 0, 1), Change("REVIEW", "FAIL", 1, 0, 0))
    assert changes(parts, 0.26, 0.6).rows == (
        Change("FAIL", "REVIEW", 1, 0, 1),
        Change("REVIEW", "PASS", 1, 1, 0),
    )
    assert found.changed == 2
