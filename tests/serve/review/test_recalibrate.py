from dataclasses import replace

import numpy as np
import pytest

from mambaad.errors import ConfigError, DataError
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.serve.review.recalibrate import check_decided, new_thresholds, usable_parts
from tests.serve.review.samples import SECRET, line, part


def test_only_good_parts_of_the_random_share_are_usable():
    parts = [
        part(0, "PASS", "good", probability=0.02),
        part(1, "REVIEW", "good", probability=0.02),  # drawn and REVIEW: drawn all the same
        part(2, "REVIEW", "good", probability=0.0),
        part(3, "FAIL", "good", probability=0.0),
        part(4, "PASS", "defective", probability=0.02),
        part(5, "PASS", "unsure", probability=0.02),
        part(6, "PASS", None, probability=0.02),
        part(7, "PASS", "good", probability=0.02, product="nut"),
        part(8, "BAD IMAGE", "good", probability=0.02),
    ]
    usable = usable_parts(parts, "bolt", SECRET)
    assert [p.id for p in usable.good] == ["i000000", "i000001"]
    assert (usable.unsure, usable.waiting, usable.defective) == (1, 1, 1)
    assert usable.probability == 0.02


def test_the_random_share_keeps_the_rate_and_reviewed_parts_would_not():
    random = np.random.default_rng(0)
    kept, stated, broken = [], [], []
    for first in range(0, 60_000, 1500):
        scores = random.random(1500)
        parts = line(scores, np.zeros(1500), 0.1, first=first)
        usable = [p.score for p in usable_parts(parts, "bolt", SECRET).good]
        review = new_thresholds(usable, 0, target_fpr=0.01, review_fpr=0.05).review
        kept.append(1 - review.value)
        stated.append(review.rate)
        decided = [p.score for p in parts if p.decision == "good"]
        broken.append(1 - conformal_threshold(decided, 0.05).value)
    assert np.mean(kept) == pytest.approx(np.mean(stated), abs=0.008)  # as promised
    assert np.mean(broken) < 0.02  # thresholds far above those of 5 %: defects escape


def test_a_share_that_changed_is_thinned_to_one():
    scores = np.linspace(0, 1, 4000)
    parts = line(scores, np.zeros(4000), 0.5) + line(scores, np.zeros(4000), 0.1, first=4000)
    usable = usable_parts(parts, "bolt", SECRET)
    early = sum(p.id < "i004000" for p in usable.good)
    assert usable.probability == 0.1
    assert abs(early - 400) < 4 * np.sqrt(360)


def test_thresholds_are_those_of_conformal_prediction():
    scores = np.arange(99) / 100
    found = new_thresholds(scores, 0, target_fpr=0.01, review_fpr=0.05)
    assert (found.fail.value, found.review.value) == (0.98, 0.94)
    assert found.fail.rate == found.worst_fail == pytest.approx(0.01)


def test_unsure_parts_raise_the_worst_rate():
    scores = np.arange(99) / 100
    found = new_thresholds(scores, 3, target_fpr=0.01, review_fpr=0.05)
    assert found.review.rate == pytest.approx(0.05)
    # All three good and above the threshold: ranks 5 + 3 of 99 + 3 parts.
    assert found.worst_review == pytest.approx(8 / 103)
    everything = conformal_threshold([*scores, 2, 2, 2], 8 / 103)
    assert everything.value == found.review.value


def test_without_good_parts_there_are_no_thresholds():
    with pytest.raises(DataError, match="confirmed good"):
        new_thresholds([], 0, target_fpr=0.01, review_fpr=0.05)
    with pytest.raises(ConfigError, match="below --target-fpr"):
        new_thresholds([0.1], 0, target_fpr=0.1, review_fpr=0.05)


def test_a_share_of_which_people_chose_the_parts_sets_no_thresholds():
    scores = np.random.default_rng(0).random(2000)
    parts = line(scores, np.zeros(2000), 1.0)
    chosen = np.random.default_rng(1).random(2000) < 0.1  # and all those that came to review anyway
    parts = [
        part if part.score > 0.95 or take else replace(part, decision=None)
        for part, take in zip(parts, chosen, strict=True)
    ]
    usable = usable_parts(parts, "bolt", SECRET)
    review = new_thresholds([p.score for p in usable.good], 0, target_fpr=0.01, review_fpr=0.05)
    assert 1 - review.review.value < 0.02  # of 5 % that would be stated
    with pytest.raises(DataError, match=f"{usable.waiting} of 2000 drawn parts wait"):
        check_decided(usable)
    waiting = iter([p for p in parts if p.decision is None][: usable.to_decide])
    decided = {next(waiting).id for _ in range(usable.to_decide)}
    parts = [replace(p, decision="good") if p.id in decided else p for p in parts]
    check_decided(usable_parts(parts, "bolt", SECRET))


def test_copies_of_an_image_are_one_part():
    one = part(1, "PASS", "good", probability=0.5)
    copies = [replace(one, id=f"c{n}", decision="good" if n else None) for n in range(120)]
    usable = usable_parts(copies, "bolt", SECRET)
    assert (len(usable.good), usable.waiting) == (1, 0)
