from dataclasses import replace

import pytest

from mambaad.serve.review.replay import compare, replay
from mambaad.types import Verdict
from tests.serve.review.samples import part


@pytest.mark.parametrize(
    ("before", "after", "decision", "kind"),
    [
        ("FAIL", "PASS", "defective", "new escape"),
        ("PASS", "FAIL", "defective", "fixed escape"),
        ("PASS", "REVIEW", "good", "new alarm"),
        ("REVIEW", "PASS", "good", "fixed alarm"),
        ("REVIEW", "PASS", None, "changed"),
        ("REVIEW", "PASS", "unsure", "changed"),
        ("REVIEW", "FAIL", "defective", "changed"),
        ("PASS", "ERROR", "good", "new alarm"),
        ("PASS", "NONE", None, "changed"),  # the other bundle has no calibration
    ],
)
def test_what_a_difference_means(before, after, decision, kind):
    outcome = {"ERROR": (None, None), "NONE": (None, 0.5)}.get(after) or (Verdict(after), 0.5)
    comparison = compare([(part(0, before, decision), outcome)])
    assert [d.kind for d in comparison.differences] == [kind]
    assert comparison.table == {(before, after): 1}
    assert comparison.count(kind) == 1


def test_replay_reads_images_and_lists_the_worst_first():
    parts = [
        replace(part(0, "REVIEW", "good"), id="fixed", product_given="bolt"),
        replace(part(1, "PASS", "good"), id="same"),
        replace(part(2, "FAIL", "defective"), id="escapes"),
        replace(part(3, "PASS", "good"), id="gone"),
    ]
    images = {p.id: p.id.encode() for p in parts if p.id != "gone"}
    asked, steps = [], []

    def inspect(image, product):
        asked.append((image, product))
        return Verdict.PASS, 0.0

    comparison = replay(parts, lambda p: images.get(p.id), inspect, steps.append)
    assert [d.part.id for d in comparison.differences] == ["escapes", "fixed"]
    assert comparison.table == {("REVIEW", "PASS"): 1, ("PASS", "PASS"): 1, ("FAIL", "PASS"): 1}
    assert (comparison.compared, comparison.without_image) == (3, 1)
    assert asked == [(b"fixed", "bolt"), (b"same", None), (b"escapes", None)]
    assert steps == [1, 2, 3, 4]
