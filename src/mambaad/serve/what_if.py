"""Thresholds that somebody considers: their stated rates, and what they would have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mambaad.inspection.thresholds import CONFIDENCE, Threshold
from mambaad.types import Verdict


def stated(scores: Float[np.ndarray, " n"], value: float) -> Threshold:
    """State the false-alarm rate of a threshold that was chosen by its value.

    With k of n good parts above the value, it lies at or above the (k + 1)-th largest score, so by
    split conformal prediction at most (k + 1) / (n + 1) of later good parts exceed it
    (:mod:`mambaad.inspection.thresholds`), provided that it was not chosen by looking at these
    very scores: whoever moves a threshold until the rate looks right should recalibrate later.
    Above the largest score the rate is 1 / (n + 1).

    Args:
        scores: of the good parts calibrated on, one or more.
        value: the threshold.
    """
    from scipy.special import betaincinv  # half a second, for which a start need not wait

    count = len(scores)
    rank = int(np.sum(scores > value)) + 1
    rate, tail = rank / (count + 1), (1 - CONFIDENCE) / 2
    if rank > count:  # below all scores
        return Threshold(value, rate, rate, (float(betaincinv(count, 1, tail)), 1.0))
    low, high = betaincinv(rank, count + 1 - rank, [tail, 1 - tail])
    return Threshold(value, rate, rate, (float(low), float(high)))


@dataclass(frozen=True)
class Scored:
    """What is stored of a judged part: ``peak``: of its highest region, None without one."""

    verdict: Verdict
    score: float
    peak: float | None = None
    decision: str | None = None


@dataclass(frozen=True)
class Change:
    """Parts whose verdict would have been another one, and how many of them people found so."""

    before: str
    after: str
    parts: int
    good: int
    defective: int


@dataclass(frozen=True)
class Changes:
    """What other thresholds would have changed: of ``total`` parts ``changed``."""

    total: int
    rows: tuple[Change, ...]

    @property
    def changed(self) -> int:
        """The number of parts with another verdict."""
        return sum(row.parts for row in self.rows)


def changes(parts: Iterable[Scored], review: float, fail: float, review_then: float) -> Changes:
    """Judge stored parts by other thresholds.

    A part that passed with a score above the threshold of its time passed because its regions were
    too small, and still does. One that would newly be above has no stored regions: it is judged by
    its score, as if its region were large enough.

    Args:
        parts: judged parts.
        review, fail: the thresholds that somebody considers.
        review_then: the REVIEW threshold that the parts were judged by.
    """
    counts: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str, str | None]] = Counter()
    total = 0
    for part in parts:
        total += 1
        after = _verdict(part, review, fail, review_then)
        if after is not part.verdict:
            counts[part.verdict.value, after.value] += 1
            found[part.verdict.value, after.value, part.decision] += 1
    rows = tuple(
        Change(b, a, number, found[b, a, "good"], found[b, a, "defective"])
        for (b, a), number in sorted(counts.items())
    )
    return Changes(total, rows)


def _verdict(part: Scored, review: float, fail: float, review_then: float) -> Verdict:
    if part.verdict is Verdict.PASS and part.score > review_then:
        return Verdict.PASS
    peak = part.score if part.peak is None else part.peak
    if peak <= review:
        return Verdict.PASS
    return Verdict.FAIL if peak > fail else Verdict.REVIEW
