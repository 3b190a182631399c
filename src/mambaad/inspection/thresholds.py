"""Thresholds of scores from good parts alone, and the false-alarm rates that they have.

Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005): if new good
parts come from where the calibration's came from (exchangeable scores), the chance that one lies
above the j-th largest of n calibration scores is at most j / (n + 1), whatever the distribution.
For a threshold once set, the false-alarm rate is a number that depends on the draw of the
calibration parts, distributed as Beta(j, n + 1 - j) (Vovk, Conditional validity of inductive
conformal predictors, 2012): hence the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv

CONFIDENCE = 0.95
"""Of the intervals of false-alarm rates."""


@dataclass(frozen=True)
class Threshold:
    """A score above ``value`` raises an alarm.

    ``asked``: the false-alarm rate that was wanted; ``rate``: the one that the threshold has, in
    the mean over draws of the calibration parts; ``interval``: where the rate of this very
    threshold lies with 95 % confidence. All in [0, 1].
    """

    value: float
    asked: float
    rate: float
    interval: tuple[float, float]

    @property
    def is_reached(self) -> bool:
        """Whether the rate is as low as asked; with too few parts it cannot be."""
        return self.rate <= self.asked


def conformal_threshold(
    scores: Sequence[float] | Float[np.ndarray, " n"], asked: float
) -> Threshold:
    """The lowest threshold whose false-alarm rate is at most ``asked``.

    With fewer than 1 / asked - 1 scores there is none: then their maximum, whose rate, 1 / (n + 1),
    is the lowest to be had.

    Args:
        scores: of good parts that were not trained on, one or more, finite.
        asked: above 0, below 1.
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    count = len(ordered)
    # So many calibration scores may be as large as a false alarm; rounding must not lose one.
    above = max(math.floor((count + 1) * asked + 1e-9), 1)
    above = min(above, count)
    tail = (1 - CONFIDENCE) / 2
    low, high = betaincinv(above, count + 1 - above, [tail, 1 - tail])
    return Threshold(
        float(ordered[count - above]), asked, above / (count + 1), (float(low), float(high))
    )


def percentile(scores: Float[np.ndarray, " n"], score: float) -> float:
    """The share of ``scores`` that lie below a score, in per cent."""
    return 100.0 * float(np.mean(scores < score))


def p_value(scores: Float[np.ndarray, " n"], score: float) -> float:
    """The conformal p-value: how likely a good part is to score as high, in [1 / (n + 1), 1]."""
    return (int(np.sum(scores >= score)) + 1) / (len(scores) + 1)
