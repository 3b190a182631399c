"""The interval of an AU-ROC, by its defining equation and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mambaad.metrics.confidence import auroc_interval


@pytest.mark.parametrize("auroc", [0.5, 0.8, 0.97])
@pytest.mark.parametrize(("good", "defective"), [(3, 3), (5, 40), (200, 100)])
def test_its_ends_solve_the_equation(auroc: float, good: int, defective: int) -> None:
    low, high = auroc_interval(auroc, good, defective)
    assert 0 < low < auroc < high < 1
    for a in (low, high):
        n = (good + defective) / 2
        variance = a * (1 - a) * (1 + (n - 1) * ((1 - a) / (2 - a) + a / (1 + a)))
        variance /= good * defective
        assert abs(auroc - a) == pytest.approx(1.959964 * math.sqrt(variance), abs=1e-9)


def test_all_ranked_right_is_not_certainty() -> None:
    low, high = auroc_interval(1.0, 3, 3)
    assert high == 1
    assert 0.4 < low < 0.6
    assert auroc_interval(1.0, 500, 500)[0] > 0.99
    mirrored = auroc_interval(0.0, 3, 3)
    assert mirrored == pytest.approx((0, 1 - low))


@pytest.mark.parametrize("shift", [0.5, 1.5, 2.5])
def test_it_holds_the_truth_about_95_times_in_100(shift: float) -> None:
    random = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(shift / 2))  # of two unit normals that far apart
    labels = np.repeat([0, 1], [8, 6])
    held = 0
    for _ in range(400):
        scores = random.normal(size=14) + shift * labels
        low, high = auroc_interval(roc_auc_score(labels, scores), 8, 6)
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 1
