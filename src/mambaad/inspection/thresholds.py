"""Thresholds on scores, set from good parts alone, and their false-alarm rates.

Split conformal prediction (Vovk et al., Algorithmic Learning in a Random World, 2005): if new good
parts come from where the calibration's came from (exchangeable scores), the chance that one lies
above the j-th largest of n calibration scores is at most j / (n + 1), whatever the distribution.
The false-alarm rate of one threshold depends on the draw of the calibration parts, and is
distributed as Beta(j, n + 1 - j) (Vovk, Conditional validity of inductive
conformal predictors, 2012): hence the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

CONFIDENCE = 0.95
"""Confidence of the intervals of false-alarm rates."""


@dataclass(frozen=True)
class Threshold:
    """A threshold: a score above ``value`` raises an alarm.

    ``asked``: the target false-alarm rate. ``rate``: the expected rate, the mean over draws of the
    calibration parts. ``interval``: contains the rate of this particular threshold with 95 %
    confidence. All in [0, 1].
    """

    value: float
    asked: float
    rate: float
    interval: tuple[float, float]

    @property
    def is_reached(self) -> bool:
        """Whether the rate is at most the target; with too few parts it cannot be."""
        return self.rate <= self.asked


def conformal_threshold(
    scores: Sequence[float] | Float[np.ndarray, " n"], asked: float
) -> Threshold:
    """Find the lowest threshold whose false-alarm rate is at most ``asked``.

    With fewer than 1 / asked - 1 scores there is none; the result is then the maximum score, which
    has the lowest rate possible, 1 / (n + 1).

    Args:
        scores: of good parts that were not trained on, one or more, finite.
        asked: the target false-alarm rate, above 0, below 1.
    """
    from scipy.special import betaincinv  # half a second, for which refusals need not wait

    ordered = np.sort(np.asarray(scores, dtype=float))
    count = len(ordered)
    # j of the module's docstring; 1e-9, so that rounding does not lose one.
    rank = max(math.floor((count + 1) * asked + 1e-9), 1)
    rank = min(rank, count)
    tail = (1 - CONFIDENCE) / 2
    low, high = betaincinv(rank, count + 1 - rank, [tail, 1 - tail])
    return Threshold(
        float(ordered[count - rank]), asked, rank / (count + 1), (float(low), float(high))
    )


def percentile(scores: Float[np.ndarray, " n"], score: float) -> float:
    """The share of ``scores`` below a score, in per cent."""
    return 100.0 * float(np.mean(scores < score))


def p_value(scores: Float[np.ndarray, " n"], score: float) -> float:
    """The conformal p-value: the chance that a good part scores as high, in [1 / (n + 1), 1]."""
    return (int(np.sum(scores >= score)) + 1) / (len(scores) + 1)
