import numpy as np
import pytest
from pydantic import ValidationError

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.errors import ConfigError
from mambaad.inspection.calibration import read_calibration
from mambaad.serve.product_setting import ProductSetting, SampleOfShare, adjusted
from mambaad.serve.shapes import Shape
from mambaad.serve.what_if import stated

HALF = ((0, 0), (0.5, 0), (0.5, 1), (0, 1))


@pytest.fixture
def run(calibrated_run):
    with opened(calibrated_run) as snapshot:
        size = read_config(snapshot).size
        return read_calibration(snapshot, size), size, snapshot.digest(WEIGHTS)


def test_thresholds_state_their_rates(run):
    calibration, size, bundle = run
    scores = calibration.classes["bolt"].scores
    review, fail = np.quantile(scores, [0.5, 0.9]).tolist()
    setting = ProductSetting(bundle=bundle, review=review, fail=fail)
    bolt = adjusted(calibration, {"bolt": setting}, size, bundle).classes["bolt"]
    assert (bolt.review, bolt.fail) == (stated(scores, review), stated(scores, fail))
    others = adjusted(calibration, {"bolt": setting}, size, bundle).classes["nut"]
    assert others is calibration.classes["nut"]


def test_thresholds_of_another_bundle_are_not_used_but_the_area_is(run):
    calibration, size, bundle = run
    shape = Shape(kind="region_of_interest", points=HALF)
    setting = ProductSetting(
        bundle="another", review=0.0, fail=0.0, shapes=(shape,), min_area_px=7, mm_per_px=0.5
    )
    bolt = adjusted(calibration, {"bolt": setting}, size, bundle).classes["bolt"]
    assert bolt.fail == calibration.classes["bolt"].fail
    assert bolt.settings.inspected.mean() == 0.5
    assert (bolt.settings.min_area_px, bolt.settings.mm_per_px) == (7, 0.5)


def test_the_area_only_shrinks(run):
    calibration, size, bundle = run
    right = Shape(kind="ignore", points=HALF)
    once = adjusted(calibration, {"bolt": ProductSetting(shapes=(right,))}, size, bundle)
    left = ProductSetting(shapes=(Shape(kind="region_of_interest", points=HALF),))
    with pytest.raises(ConfigError, match="no part of the image"):
        adjusted(once, {"bolt": left}, size, bundle)


def test_a_recalibration_replaces_the_scores(run):
    calibration, size, bundle = run
    sample = SampleOfShare(scores=(0.1, 0.2, 0.3), sharpness=(0, 0, 0), brightness=(1, 1, 1))
    setting = ProductSetting(bundle=bundle, review=0.2, fail=0.3, sample=sample)
    bolt = adjusted(calibration, {"bolt": setting}, size, bundle).classes["bolt"]
    assert bolt.scores.tolist() == [0.1, 0.2, 0.3]
    assert (bolt.review.rate, bolt.fail.rate) == (0.5, 0.25)


@pytest.mark.parametrize(
    "wrong",
    [
        {"review": 0.3},
        {"review": 0.4, "fail": 0.3},
        {"min_area_px": -1},
        {"mm_per_px": 0},
        {"review": float("nan"), "fail": 1.0},
        {"unknown": 1},
    ],
)
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        ProductSetting(**wrong)
