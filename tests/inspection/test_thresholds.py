import numpy as np
import pytest
from scipy import stats

from mambaad.inspection.thresholds import conformal_threshold, p_value, percentile


def test_by_hand():
    # 19 scores and 10 %: the second largest of them, (1 + 1) / (19 + 1).
    threshold = conformal_threshold(range(1, 20), 0.1)
    assert threshold.value == 18
    assert threshold.rate == pytest.approx(0.1)
    assert threshold.is_reached
    assert threshold.interval == pytest.approx(stats.beta(2, 18).interval(0.95))


def test_a_rate_that_the_count_allows_exactly_is_used_to_the_full():
    # 0.01 * 100 is not 1 in floating point for every way of writing it.
    threshold = conformal_threshold(np.arange(99.0), 0.01)
    assert threshold.value == 98
    assert threshold.rate == pytest.approx(0.01)
    assert threshold.is_reached


@pytest.mark.parametrize("count", [1, 5, 50, 98])
def test_too_few_parts_state_the_rate_that_they_allow(count):
    scores = np.random.default_rng(0).normal(size=count)
    threshold = conformal_threshold(scores, 0.01)
    assert threshold.value == scores.max()
    assert threshold.rate == pytest.approx(1 / (count + 1))
    assert threshold.asked == 0.01
    assert not threshold.is_reached


def test_equal_scores():
    threshold = conformal_threshold([2.0] * 99, 0.05)
    assert threshold.value == 2.0  # and none lies above


@pytest.mark.parametrize("shape", ["normal", "lognormal", "uniform"])
@pytest.mark.parametrize("count", [30, 199])
def test_the_stated_rate_is_the_measured_one_over_many_draws(shape, count):
    random = np.random.default_rng(7)
    draw = getattr(random, shape)
    inside, rates = 0, []
    for _ in range(400):
        threshold = conformal_threshold(draw(size=count), 0.05)
        rate = (draw(size=4000) > threshold.value).mean()
        low, high = threshold.interval
        inside += low <= rate <= high
        rates.append(rate)
    assert np.mean(rates) == pytest.approx(threshold.rate, rel=0.1)
    # 95 % of the intervals hold the rate: 400 draws, and what is measured has an error of its own.
    assert 0.91 <= inside / 400 <= 0.985


def test_percentile_and_p_value():
    scores = np.asarray([1.0, 2.0, 2.0, 5.0])
    assert [percentile(scores, s) for s in (0, 1, 2, 3, 9)] == [0, 0, 25, 75, 100]
    assert [p_value(scores, s) for s in (0, 1, 2, 3, 9)] == [1, 1, 0.8, 0.4, 0.2]
