"""Replay: stored parts inspected by another bundle, and what would have changed.

Nothing is recorded and nobody is told: replay reads stored images and returns a comparison, which
is shown before the other bundle is promoted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mambaad.serve.review.parts import ReviewedPart
from mambaad.types import Verdict

ERROR, NONE = "ERROR", "NONE"
"""Stand for the verdict of a part that a bundle could not inspect, or that has no calibration."""
Outcome = tuple["Verdict | None", "float | None"]
"""A verdict and a score; both None after an error."""


@dataclass(frozen=True)
class Difference:
    """A part on which the two bundles differ; scores of different models are not comparable."""

    part: ReviewedPart
    verdict: Verdict | None
    score: float | None

    @property
    def before(self) -> str:
        """The verdict that is stored, or what stands for it."""
        return _word(self.part.verdict, self.part.score)

    @property
    def after(self) -> str:
        """The verdict of the other bundle, or what stands for it."""
        return _word(self.verdict, self.score)

    @property
    def kind(self) -> str:
        """What the change means, given the decision.

        ``new escape``: a part that a person found defective would now pass; ``fixed escape``;
        ``new alarm``: one that was found good would no longer pass; ``fixed alarm``; ``changed``:
        nobody has decided, or the part passes under neither bundle.
        """
        before, after = self.part.verdict is Verdict.PASS, self.verdict is Verdict.PASS
        if before == after or self.part.decision not in ("good", "defective"):
            return "changed"
        kind = "escape" if self.part.decision == "defective" else "alarm"
        is_worse = after == (kind == "escape")
        return f"{'new' if is_worse else 'fixed'} {kind}"


@dataclass(frozen=True)
class Comparison:
    """The outcome of a replay.

    ``table``: number of parts by verdict before and after, or what stands for it. ``differences``:
    worst first. ``compared``: parts in the table. ``without_image``: parts whose image is not kept
    any more.
    """

    table: dict[tuple[str, str], int]
    differences: tuple[Difference, ...]
    compared: int
    without_image: int

    def count(self, kind: str) -> int:
        """Count the differences of a kind (:attr:`Difference.kind`)."""
        return sum(difference.kind == kind for difference in self.differences)


_ORDER = ("new escape", "new alarm", "changed", "fixed escape", "fixed alarm")


def compare(outcomes: Iterable[tuple[ReviewedPart, Outcome]], without_image: int = 0) -> Comparison:
    """Compare stored verdicts with those of another bundle.

    Args:
        outcomes: parts, and what the other bundle says of each.
        without_image: number of parts that could not be replayed.
    """
    table: Counter[tuple[str, str]] = Counter()
    differences = []
    for part, (verdict, score) in outcomes:
        difference = Difference(part, verdict, score)
        table[difference.before, difference.after] += 1
        if difference.before != difference.after:
            differences.append(difference)
    differences.sort(key=lambda d: (_ORDER.index(d.kind), d.part.id))
    return Comparison(dict(table), tuple(differences), sum(table.values()), without_image)


def _word(verdict: Verdict | None, score: float | None) -> str:
    return verdict.value if verdict else ERROR if score is None else NONE
