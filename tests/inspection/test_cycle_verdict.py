"""One verdict of several frames, by rule; the frames' own predictions are made up here."""

from dataclasses import replace

import numpy as np
import pytest

from mambaad.capture.cycles import Cycle
from mambaad.capture.frame import Frame
from mambaad.capture.plan import Plan
from mambaad.inspection.calibration import Calibration, ClassCalibration
from mambaad.inspection.cycle_calibration import CycleCalibration
from mambaad.inspection.cycle_verdict import frame_score, join, judge_cycle
from mambaad.inspection.inspector import Inspected
from mambaad.inspection.prediction import Prediction
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import Quality, quality_limits
from mambaad.inspection.records import record_of
from mambaad.inspection.stream import Item, Observed
from mambaad.inspection.thresholds import Threshold
from mambaad.types import Verdict

PIXELS = np.zeros((8, 8, 3), np.uint8)
MAP = np.zeros((4, 4), np.float32)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("max", 9.0), ("mean", 4.0), ("median", 3.0), ("at-least:1", 9.0), ("at-least:3", 3.0)],
)
def test_scores_are_joined_by_the_rule(rule, expected):
    assert join([3.0, 1.0, 9.0, 5.0, 2.0], rule) == expected


def test_of_fewer_frames_than_asked_for_the_lowest_counts():
    assert join([3.0, 9.0], "at-least:5") == 3.0


def inspected(score, verdict=Verdict.PASS, product="bolt", reason=""):
    prediction = Prediction(score, MAP, product, None, verdict, reason)
    return Inspected(record_of("", prediction), prediction, Observed(Item(PIXELS)))


def cycle_of(count, **more):
    frames = tuple(Frame(PIXELS, "cam", 10 + i, i / 25, 1000 + i / 25) for i in range(count))
    return Cycle(7, "cam", frames, "A-17", **more)


def threshold(value):
    return Threshold(value, 0.1, 0.1, (0.0, 0.2))


def thresholds(plan, review=4.0, fail=6.0):
    return CycleCalibration(
        product="bolt", plan=plan, scores=[1.0, 2.0, 3.0, 4.0], review=threshold(review),
        fail=threshold(fail), source="good", weights="w", precision="float32", runtime="torch",
        tiles=None, frame_thresholds=(1.0, 2.0),
    )  # fmt: skip


NO_CLASSES = Calibration({}, "hold-out", 0, "float32", "w")


@pytest.mark.parametrize(
    ("scores", "rule", "verdict", "frame"),
    [
        ([1, 2, 3], "max", Verdict.PASS, 12),
        ([1, 5, 3], "max", Verdict.REVIEW, 11),
        ([9, 5, 3], "max", Verdict.FAIL, 10),
        ([9, 2, 1], "mean", Verdict.PASS, 11),
        ([9, 2, 1], "median", Verdict.PASS, 11),
        ([9, 8, 1], "at-least:2", Verdict.FAIL, 11),
        ([9, 2, 1], "at-least:2", Verdict.PASS, 11),
    ],
)
def test_the_joined_score_is_compared_with_thresholds_by_cycle(scores, rule, verdict, frame):
    plan = Plan("change", frames=3, rule=rule)
    frames = [inspected(float(score)) for score in scores]
    record, place = judge_cycle(cycle_of(3), frames, plan, NO_CLASSES, thresholds(plan))
    assert (record.verdict, record.frame) == (verdict, frame)
    assert place == frame - 10
    assert record.score == join([float(s) for s in scores], rule)
    assert (record.rule, record.schema_version, record.serial) == (rule, 2, "A-17")
    assert [one.score for one in record.frames] == scores
    assert record.percentile == 25.0 * sum(s < record.score for s in (1, 2, 3, 4))
    assert bool(record.reason) == (verdict is not Verdict.PASS)


def test_several_frames_without_thresholds_have_no_verdict():
    plan = Plan("change", frames=2)
    frames = [inspected(1.0), inspected(5.0, Verdict.FAIL)]
    record, _ = judge_cycle(cycle_of(2), frames, plan, NO_CLASSES, None)
    assert (record.verdict, record.score) == (None, 5.0)
    assert "no thresholds by cycle" in record.reason


def test_a_single_frame_has_the_verdict_of_an_image():
    frames = [inspected(5.0, Verdict.FAIL, reason="peak")]
    record, place = judge_cycle(cycle_of(1), frames, Plan(), NO_CLASSES, None)
    assert (record.verdict, record.reason, record.schema_version) == (Verdict.FAIL, "peak", 1)
    assert (record.path, record.taken, record.seconds) == (
        "cam",
        "1970-01-01T00:16:40.000+00:00",
        0,
    )
    assert (place, record.rule) == (0, None)


def test_frames_that_are_not_fit_are_left_out_unless_they_are_most():
    plan = Plan("change", frames=3)
    bad = inspected(99.0, Verdict.BAD_IMAGE, reason="too dark")
    record, _ = judge_cycle(
        cycle_of(3), [bad, inspected(1.0), inspected(2.0)], plan, NO_CLASSES, thresholds(plan)
    )
    assert (record.verdict, record.score) == (Verdict.PASS, 2.0)
    record, place = judge_cycle(
        cycle_of(3), [inspected(1.0), bad, bad], plan, NO_CLASSES, thresholds(plan)
    )
    assert (record.verdict, place) == (Verdict.BAD_IMAGE, 1)
    assert record.reason == "2 of 3 frames cannot be judged: too dark"


def test_another_product_than_the_thresholds_must_not_pass():
    plan = Plan("change", frames=2)
    frames = [inspected(1.0, product="nut"), inspected(1.0, product="nut")]
    record, _ = judge_cycle(cycle_of(2), frames, plan, NO_CLASSES, thresholds(plan))
    assert record.verdict is Verdict.UNKNOWN_PRODUCT
    assert "no calibration by cycle of nut" in record.reason


def test_a_cycle_with_an_error_has_no_verdict():
    cycle = cycle_of(1, error="the source was lost after 1 of 3 frames", dropped=2)
    record, place = judge_cycle(cycle, [], Plan(), NO_CLASSES, None)
    assert (record.verdict, record.score, place) == (None, None, None)
    assert record.error == "the source was lost after 1 of 3 frames"
    assert (record.cycle, record.frame, record.dropped) == (7, 10, 2)


def test_regions_that_are_too_small_count_as_the_review_threshold_at_most():
    one = np.ones(1)
    limits = quality_limits([Quality(1.0, 90.0, 0.0, 0.0, 8, 8)])
    bolt = ClassCalibration(
        one, one, one, one, threshold(4.0), threshold(6.0), 0.5, 0.1, 1.0, limits, ProductSettings()
    )
    calibration = replace(NO_CLASSES, classes={"bolt": bolt})
    small = Prediction(9.0, MAP, "bolt", None, Verdict.PASS, "every anomalous region is smaller")
    assert frame_score(small, calibration) == 4.0
    assert frame_score(Prediction(3.0, MAP, "bolt", None, Verdict.PASS), calibration) == 3.0
    assert frame_score(small, None) == 9.0
