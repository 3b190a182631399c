"""What the review loop knows of an inspected part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mambaad.types import Verdict

DecisionWord = Literal["good", "defective", "unsure"]
JUDGED = (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)
"""The verdicts that the score decides on; the others are about the image or the product."""


@dataclass(frozen=True)
class ReviewedPart:
    """An inspection, whether it was drawn at random, and the decision that holds for it.

    ``id``: of the inspection. ``digest``: SHA-256 of the image as it came, hexadecimal.
    ``probability``: with which it was drawn for review when it was inspected, in [0, 1], whatever
    the outcome; ``drawn``: the outcome. ``decision``: the latest one that no other supersedes;
    None until a person has decided. ``by``: who. ``product_given``: the product, if the sender
    said it. ``format``: of the image's file. ``bundle``: digest of the bundle that inspected.
    """

    id: str
    digest: str
    product: str | None
    verdict: Verdict | None
    score: float | None
    time: str
    probability: float = 0.0
    drawn: bool = False
    decision: DecisionWord | None = None
    by: str | None = None
    serial: str | None = None
    product_given: str | None = None
    format: str = "PNG"
    bundle: str | None = None


def distinct(parts: Iterable[ReviewedPart]) -> list[ReviewedPart]:
    """Keep one part of each image, one with a decision if there is any.

    The draw is that of the image, so copies are drawn together: they are one observation.
    """
    kept: dict[str, ReviewedPart] = {}
    for part in parts:
        if part.digest not in kept or kept[part.digest].decision is None:
            kept[part.digest] = part
    return list(kept.values())


def random_share(parts: Iterable[ReviewedPart]) -> Iterator[ReviewedPart]:
    """Yield the parts that were drawn at random and that the score decided on."""
    for part in parts:
        if part.drawn and part.probability > 0 and part.verdict in JUDGED:
            yield part
