import pytest

from mambaad.serve.review.replay import compare
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


def test_the_worst_differences_come_first():
    stored = [part(0, "REVIEW", "good"), part(1, "PASS", "good"), part(2, "FAIL", "defective")]
    comparison = compare([(one, (Verdict.PASS, 0.0)) for one in stored], without_image=1)
    assert [d.kind for d in comparison.differences] == ["new escape", "fixed alarm"]
    assert comparison.table == {("REVIEW", "PASS"): 1, ("PASS", "PASS"): 1, ("FAIL", "PASS"): 1}
    assert (comparison.compared, comparison.without_image) == (3, 1)
