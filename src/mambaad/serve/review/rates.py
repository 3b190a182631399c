"""Escapes and false alarms, estimated from the random share, with intervals.

Every part i had the probability p_i of being drawn for review, and counts 1 / p_i: it stands for
that many parts. A rate is the weighted share (Hajek's ratio estimator)

    r = sum_i w_i y_i / sum_i w_i,    w_i = 1 / p_i,

over the drawn and decided parts of its denominator: for escapes those that passed, y = defective;
for false alarms those that are good, y = did not pass. If the share never changed, all weights are
equal and r is a plain proportion.

The interval is Clopper and Pearson's (1934): exact, never shorter than stated. With unequal weights
it is Korn and Graubard's (1998), the same with the effective number of parts
n' = min((sum w)^2 / sum w^2, r (1 - r) / v), v = sum w^2 (y - r)^2 / (sum w)^2 (the variance of the
ratio, linearised), and n' r events; equal weights give n' = n, and Clopper and Pearson's interval.

Copies of an image are drawn together, so they are one observation, of their weights' sum.

Parts on which a person was unsure may be either: the interval's lower end counts none of them as an
event and its upper end all. Parts that nobody has decided on yet are left out, and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mambaad.inspection.thresholds import CONFIDENCE
from mambaad.serve.review.parts import ReviewedPart, random_share
from mambaad.types import Verdict


@dataclass(frozen=True)
class Rate:
    """An estimated rate.

    ``value``: None without any decided part. ``interval``: contains it with 95 % confidence.
    ``events`` of ``decided`` parts; ``unsure``: those on which a person could not decide;
    ``waiting``: those that nobody has decided on yet. ``stands_for``: the number of parts that the
    decided ones represent, the sum of their weights.
    """

    value: float | None
    interval: tuple[float, float]
    events: int
    decided: int
    unsure: int
    waiting: int
    stands_for: float

    @property
    def count(self) -> float:
        """The estimated number of events among all parts (Horvitz and Thompson's estimator)."""
        return (self.value or 0.0) * self.stands_for


def escapes(parts: Iterable[ReviewedPart]) -> Rate:
    """Estimate which share of the parts that passed are defective."""

    def is_escape(part: ReviewedPart, decision: str) -> bool | None:
        return decision == "defective" if part.verdict is Verdict.PASS else None

    return _rate(parts, is_escape)


def false_alarms(parts: Iterable[ReviewedPart], *, failed_only: bool = False) -> Rate:
    """Estimate which share of the good parts did not pass.

    Args:
        parts: the inspected parts of a product and a time, drawn or not.
        failed_only: count only those that FAIL as false alarms, not those that went to REVIEW.
    """
    alarms = (Verdict.FAIL,) if failed_only else (Verdict.FAIL, Verdict.REVIEW)

    def is_false_alarm(part: ReviewedPart, decision: str) -> bool | None:
        return part.verdict in alarms if decision == "good" else None

    return _rate(parts, is_false_alarm)


def missed(parts: Iterable[ReviewedPart]) -> Rate:
    """Estimate which share of the defective parts passed."""

    def is_missed(part: ReviewedPart, decision: str) -> bool | None:
        return part.verdict is Verdict.PASS if decision == "defective" else None

    return _rate(parts, is_missed)


def _rate(parts: Iterable[ReviewedPart], event: Callable[[ReviewedPart, str], bool | None]) -> Rate:
    """Estimate the rate of an event; ``event`` is None for a part outside the denominator."""
    drawn = list(random_share(parts))
    certain, least, most, unsure, waiting = [], [], [], 0, 0
    for part in drawn:
        readings = {event(part, "good"), event(part, "defective")}
        if part.decision is None:
            waiting += readings != {None}
        elif part.decision == "unsure":
            unsure += readings != {None}
            least.append((part, next(r for r in (False, None, True) if r in readings)))
            most.append((part, next(r for r in (True, None, False) if r in readings)))
        else:
            certain.append((part, event(part, part.decision)))
    value, low, high, events, decided, stands_for = _estimated(certain)
    if unsure:
        low = min(low, _estimated(certain + least)[1])
        high = max(high, _estimated(certain + most)[2])
    rate = value if decided else None
    return Rate(rate, (low, high), events, decided, unsure, waiting, stands_for)


def _estimated(
    readings: Sequence[tuple[ReviewedPart, bool | None]],
) -> tuple[float, float, float, int, int, float]:
    """Estimate from parts of which it is known whether the event happened."""
    weights: defaultdict[str, float] = defaultdict(float)  # of images
    sums: defaultdict[str, float] = defaultdict(float)
    events = decided = 0
    for part, is_event in readings:
        if is_event is not None:
            weights[part.digest] += 1 / part.probability
            sums[part.digest] += is_event / part.probability
            events += is_event
            decided += 1
    of_images = np.asarray(list(weights.values()))
    numbers = estimate(of_images, np.asarray(list(sums.values())) / of_images)
    return *numbers, events, decided, float(of_images.sum())


def estimate(weights: np.ndarray, events: np.ndarray) -> tuple[float, float, float]:
    """Estimate a rate from weighted parts: the rate, and both ends of its 95 % interval.

    Args:
        weights: one over each part's probability, above 0; summed over copies of an image.
        events: 1 where the event happened, else 0; the share of an image's copies.
    """
    if not len(weights):
        return 0.0, 0.0, 1.0
    total = weights.sum()
    rate = float((weights * events).sum() / total)
    effective = float(total**2 / np.square(weights).sum())
    variance = float(np.square(weights * (events - rate)).sum() / total**2)
    if variance > 0:
        effective = min(effective, rate * (1 - rate) / variance)
    return rate, *clopper_pearson(rate * effective, effective)


def clopper_pearson(events: float, parts: float) -> tuple[float, float]:
    """Compute the exact 95 % interval of a proportion; the numbers may be effective ones.

    Args:
        events: how many of the parts, from 0 to ``parts``.
        parts: their number, above 0.
    """
    from scipy.special import betaincinv  # half a second, for which a start need not wait

    tail = (1 - CONFIDENCE) / 2
    rest = parts - events
    # 1e-9: rounding must not turn none or all into nearly none or nearly all.
    low = 0.0 if events < 1e-9 else float(betaincinv(events, rest + 1, tail))
    high = 1.0 if rest < 1e-9 else float(betaincinv(events + 1, rest, 1 - tail))
    return low, high
