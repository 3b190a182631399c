"""Thresholds that somebody considers: their stated rates, and what they would have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mambaad.inspection.thresholds import Threshold
from mambaad.serve.review.rates import clopper_pearson
from mambaad.types import Verdict


def stated(scores: Float[np.ndarray, " n"], value: float) -> Threshold:
    """State the false-alarm rate of a threshold that was chosen by its value.

    With k of n good parts above the value, it lies at or above the (k + 1)-th largest score, so by
    split conformal prediction at most (k + 1) / (n + 1) of later good parts exceed it
    (:mod:`mambaad.inspection.thresholds`), provided that it was not chosen by looking at these
    very scores: whoever moves a threshold until the rate looks right should recalibrate later.
    Above the largest score the rate is 1 / (n + 1). The interval is that of the share of all good
    parts above the value, of which k of n are known (Clopper and Pearson).

    Args:
        scores: of the good parts calibrated on, one or more.
        value: the threshold.
    """
    count, above = len(scores), int(np.sum(scores > value))
    rate = (above + 1) / (count + 1)
    return Threshold(value, rate, rate, clopper_pearson(above, count))


@dataclass(frozen=True)
class Scored:
    """What is stored of a judged part.

    ``peak``: of its highest region, None without one. ``is_small``: whether it passed although its
    score was above the REVIEW threshold, as its regions were smaller than the smallest defect.
    """

    verdict: Verdict
    score: float
    peak: float | None = None
    decision: str | None = None
    is_small: bool = False


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


def changes(parts: Iterable[Scored], review: float, fail: float) -> Changes:
    """Judge stored parts by other thresholds, whatever they were judged by.

    This is what :func:`mambaad.inspection.decision.decide` would say, except where thresholds are
    lowered for a product with a smallest defect: a part that passed because its regions were too
    small still does; one that would newly be above has no stored regions, and is judged by its
    score, as if its region were large enough.

    Args:
        parts: judged parts.
        review, fail: the thresholds that somebody considers.
    """
    counts: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str, str | None]] = Counter()
    total = 0
    for part in parts:
        total += 1
        after = _verdict(part, review, fail)
        if after is not part.verdict:
            counts[part.verdict.value, after.value] += 1
            found[part.verdict.value, after.value, part.decision] += 1
    rows = tuple(
        Change(b, a, number, found[b, a, "good"], found[b, a, "defective"])
        for (b, a), number in sorted(counts.items())
    )
    return Changes(total, rows)


def _verdict(part: Scored, review: float, fail: float) -> Verdict:
    if part.is_small:
        return Verdict.PASS
    peak = part.score if part.peak is None else part.peak
    if peak <= review:
        return Verdict.PASS
    return Verdict.FAIL if peak > fail else Verdict.REVIEW
