"""Drift: whether good parts still look like those that the thresholds were set on.

A conformal test martingale (Vovk, Nouretdinov, Gammerman, Testing exchangeability on-line, 2003):
each new value gets its rank among all before it, calibration's included, as a p-value; these are
independent and uniform as long as nothing has changed. A gambler bets against that, with the
"simple jumper" (Vovk et al., Retrain or not retrain, 2021). The capital is 1 at first; if nothing
has changed, the chance that it ever reaches 1 / a is at most a (Ville's inequality), however often
it is checked. So the test may run after every part, or every day, with one stated false-alarm rate.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_BETS = np.asarray([-2.0, -1.0, 0.0, 1.0, 2.0])
"""Stakes on small (-) or large (+) p-values; at most 2 in size, or the capital turns negative."""
_JUMP = 0.01
"""Share of the capital that is spread evenly over all bets at each step."""


class Martingale:
    """The gambler's capital over a sequence of values, one value at a time.

    Args:
        calibration: values of the good parts calibrated on, in any order.
        seed: of the random ranks of equal values.
    """

    def __init__(
        self, calibration: Sequence[float] | Float[np.ndarray, " n"], seed: int = 0
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._seen = sorted(float(v) for v in calibration)
        self._shares = np.full(len(_BETS), 1 / len(_BETS))
        self._logarithm = 0.0

    def add(self, value: float) -> float:
        """Bet on the next value; returns the natural logarithm of the capital after it."""
        seen = self._seen
        below, up_to = bisect.bisect_left(seen, value), bisect.bisect_right(seen, value)
        seen.insert(below, value)
        above, equal = len(seen) - 1 - up_to, up_to - below + 1
        p = (above + self._generator.random() * equal) / len(seen)
        shares = (1 - _JUMP) * self._shares + _JUMP / len(_BETS)
        shares = shares * (1 + _BETS * (p - 0.5))
        gain = shares.sum()
        self._shares = shares / gain
        self._logarithm += math.log(gain)
        return self._logarithm


def drift_evidence(
    calibration: Sequence[float] | Float[np.ndarray, " n"],
    values: Sequence[float] | Float[np.ndarray, " m"],
    seed: int = 0,
) -> Float[np.ndarray, " m"]:
    """Compute the natural logarithm of the capital after each new value.

    Args:
        calibration: values of the good parts calibrated on, in any order.
        values: of the parts inspected since, in the order of their inspection.
        seed: of the random ranks of equal values.
    """
    martingale = Martingale(calibration, seed)
    return np.asarray([martingale.add(float(value)) for value in values])


def first_alarm(evidence: Float[np.ndarray, " m"], false_alarm_rate: float) -> int | None:
    """Find the index of the first value at which the evidence suffices; None if it never does.

    Args:
        evidence: see :func:`drift_evidence`.
        false_alarm_rate: the chance of any alarm while nothing has changed; above 0, below 1.
    """
    above = np.flatnonzero(evidence >= -math.log(false_alarm_rate))
    return int(above[0]) if len(above) else None
