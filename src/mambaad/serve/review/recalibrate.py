"""Recalibration: new thresholds from the random share alone.

A conformal threshold states a false-alarm rate because the good parts that it is set on and those
that come later are exchangeable: each of them could as well have been any other. People decide on
two kinds of parts. Those of the random share were drawn before anybody knew their score, so the
good ones among them are like all good parts. Those that went to REVIEW were chosen *by* their
score: the good ones among them are the highest-scoring good parts of the line, and every good part
that passed, the other 95 %, is missing. Thresholds set on them, or on both together, are too high:
on scores that are uniform in [0, 1] and reviewed above 0.95, the threshold "1 %" of the reviewed
ones is 0.9995, and a defective part with a score of 0.998 passes. Each further round starts from
higher thresholds, so the error grows with use. Hence :func:`usable_parts` takes the random share
alone, whatever the caller gives it, and there is no option to do otherwise.

A part of the random share may *also* have been a REVIEW; it stays, since it was drawn regardless.

A part on which a person was unsure is in neither group. If those are really good parts, they have
probably high scores, and leaving them out sets the thresholds too low; so the rate is also stated
for the worst case, in which each of them is good and above the threshold.

Parts that nobody has decided on yet may be missing because of their score too: whoever decides on
drawn parts that came to review anyway, and on few others, has made a sample of high scores. So
there are no new thresholds while more than a tenth of the share waits (:func:`check_decided`). Of
what is left, all may be good and below a threshold, or above: its rate is at least nine tenths of
the stated one, and at most the worst.

Copies of an image are drawn together, and count once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mambaad.errors import DataError
from mambaad.inspection.calibration import Calibration, CalibrationPart, calibrate_class
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import QualityLimits
from mambaad.inspection.rates import check_rates
from mambaad.inspection.thresholds import Threshold, conformal_threshold
from mambaad.serve.review.parts import ReviewedPart, distinct, random_share
from mambaad.serve.review.sampling import thinned

MOST_WAITING = 0.1
"""The largest share of the drawn parts that may wait for a decision."""


@dataclass(frozen=True)
class UsableParts:
    """What the random share has for the recalibration of one product.

    ``good``: confirmed good, each drawn with the same ``probability``. ``unsure``: parts of the
    same draw on which a person was unsure; ``waiting``: nobody has decided on yet; ``defective``:
    confirmed so.
    """

    good: tuple[ReviewedPart, ...]
    probability: float
    unsure: int
    waiting: int
    defective: int

    @property
    def drawn(self) -> int:
        """How many parts were drawn."""
        return len(self.good) + self.unsure + self.waiting + self.defective

    @property
    def to_decide(self) -> int:
        """How many parts need a decision before thresholds may be set on the others."""
        return max(self.waiting - math.floor(MOST_WAITING * self.drawn), 0)


@dataclass(frozen=True)
class NewThresholds:
    """Thresholds that the random share gives, and their rates if every undecided part was good.

    ``worst_review``, ``worst_fail``: upper bounds of the expected rates, in [0, 1].
    """

    review: Threshold
    fail: Threshold
    worst_review: float
    worst_fail: float


def usable_parts(parts: Iterable[ReviewedPart], product: str, secret: bytes) -> UsableParts:
    """Select what may recalibrate a product: its good parts of the random share, and no others.

    Args:
        parts: inspected parts, drawn or not, of any product.
        product: the class to recalibrate.
        secret: that the parts were drawn with; needed if the share changed over time.
    """
    drawn = [part for part in random_share(parts) if part.product == product]
    kept, probability = thinned(distinct(drawn), secret)
    counts = {
        word: sum(part.decision == word for part in kept) for word in ("unsure", None, "defective")
    }
    good = tuple(part for part in kept if part.decision == "good")
    return UsableParts(good, probability, counts["unsure"], counts[None], counts["defective"])


def check_decided(usable: UsableParts) -> None:
    """Check that not too many parts wait for a decision (DataError)."""
    if usable.to_decide:
        raise DataError(
            f"{usable.waiting} of {usable.drawn} drawn parts wait for a decision; decide on "
            f"{usable.to_decide} more, whichever they are, or the others are a choice of somebody"
        )


def new_thresholds(
    scores: Sequence[float], undecided: int, *, target_fpr: float, review_fpr: float
) -> NewThresholds:
    """Set both thresholds by split conformal prediction, and bound their rates.

    With n good parts the threshold of rank j has the expected rate j / (n + 1). If m undecided
    parts are good as well and all above it, the rank among all is j + m: (j + m) / (n + m + 1).

    Args:
        scores: of the usable good parts under the bundle that is to be recalibrated.
        undecided: the number m of parts on which a person was unsure, or nobody has decided yet.
        target_fpr, review_fpr: see :func:`mambaad.inspection.calibration.calibrate_class`.

    Raises:
        DataError: there is no score.
        ConfigError: rates that a calibration cannot aim at.
    """
    check_rates(target_fpr, review_fpr)
    if not len(scores):
        raise DataError(
            "the random share has no part that was confirmed good; decide on some of the parts in "
            "review first"
        )
    review, fail = (conformal_threshold(scores, rate) for rate in (review_fpr, target_fpr))
    return NewThresholds(review, fail, *(_worst(t, len(scores), undecided) for t in (review, fail)))


def _worst(threshold: Threshold, good: int, undecided: int) -> float:
    rank = round(threshold.rate * (good + 1))
    return (rank + undecided) / (good + undecided + 1)


def recalibrated(
    calibration: Calibration,
    summaries: Mapping[str, Sequence[CalibrationPart]],
    settings: Mapping[str, ProductSettings],
    *,
    target_fpr: float,
    review_fpr: float,
) -> Calibration:
    """Set the thresholds of some products again; the other products keep theirs.

    The limits of image quality and the borders of products are widened where the new parts need
    it, and never narrowed: an image beyond them was judged BAD IMAGE or UNKNOWN PRODUCT, so it is
    not among these parts, and narrowing them time after time would end in judging nothing.

    Args:
        calibration: in use.
        summaries: usable good parts of each product that is recalibrated, observed by the model
            again (:func:`mambaad.inspection.calibration.summarise_part`).
        settings: of the products that are recalibrated; those in use where one is missing.
        target_fpr, review_fpr: see :func:`mambaad.inspection.calibration.calibrate_class`.
    """
    names = list(calibration.classes)
    classes = dict(calibration.classes)
    for name, parts in summaries.items():
        before = calibration.classes[name]
        after = calibrate_class(
            parts,
            names.index(name),
            [part for other in summaries if other != name for part in summaries[other]],
            settings.get(name, before.settings),
            fail_fpr=target_fpr,
            review_fpr=review_fpr,
        )
        farthest = float(after.distances.max())
        classes[name] = replace(
            after,
            unknown_beyond=max(before.unknown_beyond, farthest),
            limits=_wider(before.limits, after.limits),
        )
    return replace(calibration, classes=classes, method="new parts", folds=0)


def _wider(first: QualityLimits, second: QualityLimits) -> QualityLimits:
    """The limits that hold whatever either holds."""
    (low, high), (dim, light) = (
        (min(a[0], b[0]), max(a[1], b[1]))
        for a, b in ((first.sharpness, second.sharpness), (first.brightness, second.brightness))
    )
    return QualityLimits(
        (low, high),
        (dim, light),
        max(first.dark, second.dark),
        max(first.bright, second.bright),
        tuple(sorted({*first.shapes, *second.shapes})),
    )
