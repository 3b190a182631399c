import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from mambaad.errors import DataError
from mambaad.metrics.ranking import average_precision, f1_max, roc_auc


def sklearn_f1_max(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        return np.nanmax(2 * precision * recall / (precision + recall))


def check_against_sklearn(scores, labels):
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)
    assert f1_max(scores, labels) == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 50, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_as_scikit_learn_with_few_and_many_ties(levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < 0.2
    scores = (rng.integers(0, levels, 300) + labels * levels // 3).astype(np.float32)
    check_against_sklearn(scores, labels)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12))
def test_as_scikit_learn_on_small_lists(items):
    scores = np.array([float(score) for score, _ in items])
    labels = np.array([label for _, label in items])
    if labels.any() and not labels.all():
        check_against_sklearn(scores, labels)
    else:
        assert roc_auc(scores, labels) is None
        assert average_precision(scores, labels) is None
        assert f1_max(scores, labels) is None


def test_perfect_reversed_and_constant_scores():
    labels = np.array([False, False, True, True])
    assert roc_auc(np.array([0.0, 1.0, 2.0, 3.0]), labels) == 1
    assert roc_auc(np.array([3.0, 2.0, 1.0, 0.0]), labels) == 0
    constant = np.zeros(4)
    assert roc_auc(constant, labels) == 0.5
    assert average_precision(constant, labels) == 0.5
    assert f1_max(constant, labels) == pytest.approx(2 / 3)


def test_infinite_scores_are_ties():
    labels = np.array([True, False, True, False])
    scores = np.array([np.inf, np.inf, -np.inf, -np.inf])
    assert roc_auc(scores, labels) == 0.5
    assert average_precision(scores, labels) == 0.5
    assert f1_max(scores, labels) == pytest.approx(2 / 3)


def test_nothing_to_rank():
    assert roc_auc(np.array([]), np.array([], dtype=bool)) is None


def test_nan_is_refused():
    with pytest.raises(DataError, match="NaN"):
        roc_auc(np.array([0.0, np.nan]), np.array([True, False]))
