from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from mambaad.serve.review.rates import clopper_pearson, escapes, estimate, false_alarms, missed
from tests.serve.review.samples import line, part


@pytest.mark.parametrize(("events", "count"), [(0, 12), (3, 40), (12, 12), (1, 200)])
def test_a_plain_proportion_has_scipys_exact_interval(events, count):
    expected = binomtest(events, count).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(clopper_pearson(events, count), expected, atol=1e-9)
    weights, happened = np.full(count, 50.0), np.arange(count) < events
    rate, low, high = estimate(weights, happened.astype(float))
    assert rate == pytest.approx(events / count)
    np.testing.assert_allclose((low, high), expected, atol=1e-9)


def test_the_ends_of_the_interval_have_the_stated_tails():
    low, high = clopper_pearson(4, 60)
    assert binom.sf(3, 60, low) == pytest.approx(0.025)
    assert binom.cdf(4, 60, high) == pytest.approx(0.025)


def test_unequal_weights_by_the_formulas_written_out():
    weights, events = [50, 50, 50, 100, 100], [1, 0, 0, 1, 0]
    rate = (50 + 100) / 350
    variance = sum((w * (y - rate)) ** 2 for w, y in zip(weights, events, strict=True)) / 350**2
    kish = 350**2 / sum(w**2 for w in weights)
    effective = min(kish, rate * (1 - rate) / variance)
    found = estimate(np.asarray(weights, float), np.asarray(events, float))
    assert found[0] == pytest.approx(rate)
    assert found[1:] == pytest.approx(clopper_pearson(rate * effective, effective))
    assert found[1] < clopper_pearson(rate * 5, 5)[0]  # wider than that of five equal parts


def test_intervals_with_a_changing_share_cover_the_truth():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        probabilities = np.repeat([0.01, 0.04], 4000)
        defective = random.random(8000) < np.repeat([0.10, 0.02], 4000)  # the share grew later
        drawn = random.random(8000) < probabilities
        _, low, high = estimate(1 / probabilities[drawn], defective[drawn].astype(float))
        covered += low <= 0.06 <= high
    assert covered >= 0.95 * 400 - 2 * np.sqrt(400 * 0.95 * 0.05)


def test_what_escapes_and_false_alarms_are_shares_of():
    parts = [
        *(part(n, "PASS", "good") for n in range(6)),
        *(part(n, "PASS", "defective") for n in range(6, 8)),
        part(8, "REVIEW", "good"),
        part(9, "FAIL", "good"),
        part(10, "FAIL", "defective"),
        part(11, "BAD IMAGE", "good"),
        part(12, None, None),
    ]
    assert (escapes(parts).events, escapes(parts).decided) == (2, 8)
    assert (false_alarms(parts).events, false_alarms(parts).decided) == (2, 8)
    assert false_alarms(parts, failed_only=True).events == 1
    assert (missed(parts).events, missed(parts).decided) == (2, 3)


def test_parts_chosen_by_their_score_do_not_count():
    drawn = [part(n, "PASS", "good") for n in range(10)]
    chosen = [part(n, "REVIEW", "good", probability=0.0) for n in range(10, 40)]
    assert false_alarms(drawn + chosen) == false_alarms(drawn)
    assert false_alarms(drawn + chosen).value == 0.0


def test_the_estimates_are_those_of_the_whole_line():
    random = np.random.default_rng(1)
    defective = random.random(40_000) < 0.05
    scores = np.where(defective, random.normal(0.97, 0.03, 40_000), random.random(40_000))
    parts = line(scores, defective, 0.05)
    passed = scores <= 0.95
    truths = {
        escapes: defective[passed].mean(),
        false_alarms: (~passed)[~defective].mean(),
        missed: passed[defective].mean(),
    }
    for estimator, truth in truths.items():
        rate = estimator(parts)
        assert rate.interval[0] <= truth <= rate.interval[1], estimator
    found = escapes(parts)
    assert found.stands_for == pytest.approx(passed.sum(), rel=0.1)
    assert found.count == pytest.approx(found.events / 0.05)


def test_unsure_parts_widen_the_interval_to_both_readings():
    sure = [part(n, "PASS", "good") for n in range(30)] + [part(30, "FAIL", "defective")]
    with_unsure = [*sure, part(40, "PASS", "unsure"), part(41, "REVIEW", "unsure")]
    assert escapes(with_unsure).unsure == 1
    assert escapes(with_unsure).value == 0.0
    assert escapes(with_unsure).interval == pytest.approx((0.0, clopper_pearson(1, 31)[1]))
    # A false alarm if it is good; if it is defective it does not count at all.
    assert false_alarms(with_unsure).interval == pytest.approx((0.0, clopper_pearson(1, 31)[1]))
    assert missed(with_unsure).interval == pytest.approx((0.0, clopper_pearson(1, 2)[1]))


def test_parts_that_wait_are_left_out_and_counted():
    parts = [part(0, "PASS", "good"), part(1, "PASS"), part(2, "REVIEW")]
    assert (escapes(parts).waiting, false_alarms(parts).waiting) == (1, 2)
    assert escapes(parts).decided == 1


def test_nothing_is_known_of_no_parts():
    rate = escapes([])
    assert (rate.value, rate.interval, rate.count) == (None, (0.0, 1.0), 0.0)


def test_copies_of_an_image_are_one_observation():
    alone = [part(n, "PASS", "defective" if n < 2 else "good") for n in range(40)]
    copied = [replace(p, id=f"{p.id} {n}") for p in alone for n in range(5)]
    once, often = escapes(alone), escapes(copied)
    assert often.value == pytest.approx(once.value)
    assert often.interval == pytest.approx(once.interval)
    assert (often.decided, often.events) == (200, 10)
