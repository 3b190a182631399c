"""Ranking metrics: how well scores rank anomalous items above normal ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mambaad.errors import DataError


@dataclass(frozen=True)
class RankingCurve:
    """Counts of items at or above each distinct score, from the highest score to the lowest.

    ``true[i]`` anomalous and ``false[i]`` normal items score at least the i-th highest value.
    Items of equal score are counted together, so every metric here treats ties as scikit-learn
    does.
    """

    true: Int[np.ndarray, " n"]
    false: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, " m"], labels: Bool[np.ndarray, " m"]) -> RankingCurve:
        """Rank items; ``labels`` are True for anomalous ones.

        Raises:
            DataError: a score that is not a number.
        """
        scores, labels = np.asarray(scores), np.asarray(labels, dtype=bool)
        if np.isnan(scores).any():
            raise DataError("scores hold NaN, expected numbers; check the model's output")
        highest_first = np.argsort(-scores, kind="stable")
        ranked, anomalous = scores[highest_first], labels[highest_first]
        # Not np.diff: the difference of two infinite scores is NaN.
        last_of_ties = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
        true = np.cumsum(anomalous, dtype=np.int64)[last_of_ties]
        return cls(true, last_of_ties + 1 - true)

    def roc_auc(self) -> float | None:
        """Area under the ROC curve (trapezoids); None unless :attr:`has_both`."""
        if not self.has_both:
            return None
        area = np.trapezoid(
            np.concatenate([[0], self.true]).astype(float),
            np.concatenate([[0], self.false]).astype(float),
        )
        return float(area / (float(self.true[-1]) * float(self.false[-1])))

    def average_precision(self) -> float | None:
        """Sum of precision times gain in recall; None unless :attr:`has_both`."""
        if not self.has_both:
            return None
        precision = self.true / (self.true + self.false)
        gain = np.diff(self.true, prepend=0)
        return float((precision * gain).sum() / self.true[-1])

    def f1_max(self) -> float | None:
        """Largest F1 over all thresholds; None unless :attr:`has_both`."""
        if not self.has_both:
            return None
        return float((2 * self.true / (self.true + self.false + self.true[-1])).max())

    @property
    def has_both(self) -> bool:
        """Whether there are both anomalous and normal items; else no metric is defined."""
        return bool(len(self.true) and self.true[-1] and self.false[-1])


def roc_auc(scores: Float[np.ndarray, " m"], labels: Bool[np.ndarray, " m"]) -> float | None:
    """AU-ROC of scores for labels (True: anomalous), in [0, 1]; None without both labels."""
    return RankingCurve.of(scores, labels).roc_auc()


def average_precision(
    scores: Float[np.ndarray, " m"], labels: Bool[np.ndarray, " m"]
) -> float | None:
    """Average precision of scores for labels (True: anomalous), in [0, 1], or None."""
    return RankingCurve.of(scores, labels).average_precision()


def f1_max(scores: Float[np.ndarray, " m"], labels: Bool[np.ndarray, " m"]) -> float | None:
    """Largest F1 of any threshold on the scores, in [0, 1], or None."""
    return RankingCurve.of(scores, labels).f1_max()
