import numpy as np
import pytest

from mambaad.inspection.drift import drift_evidence, first_alarm


def test_without_drift_alarms_are_as_rare_as_stated():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        values = random.gamma(2, size=60 + 300)
        alarms += first_alarm(drift_evidence(values[:60], values[60:]), 0.1) is not None
    # At most 10 % of 300, and 3 standard deviations of the count.
    assert alarms <= 30 + 3 * (300 * 0.1 * 0.9) ** 0.5


@pytest.mark.parametrize("shift", [-2.0, 2.0])
def test_a_shift_to_either_side_is_found_soon(shift):
    random = np.random.default_rng(1)
    delays = []
    for _ in range(20):
        values = random.normal(shift, size=200)
        delays.append(first_alarm(drift_evidence(random.normal(size=60), values), 0.01))
    assert None not in delays
    assert np.median(delays) < 30


def test_the_capital_of_a_gambler_by_hand():
    # One value below all others: with one calibration value, p is in [1/2, 1].
    (evidence,) = drift_evidence([1.0], [0.0], seed=3)
    p = (1 + np.random.default_rng(3).random()) / 2
    bets = np.asarray([-2, -1, 0, 1, 2])
    assert evidence == pytest.approx(np.log(np.mean(1 + bets * (p - 0.5))))


def test_equal_values_are_no_evidence():
    evidence = drift_evidence([5.0] * 50, [5.0] * 200)
    assert first_alarm(evidence, 0.01) is None


def test_nothing_to_look_at():
    assert len(drift_evidence([1.0], [])) == 0
    assert first_alarm(np.asarray([]), 0.5) is None
