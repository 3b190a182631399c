"""Verdicts, from scores that are made up and from images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import mambaad
from mambaad.artifacts.manifest import CALIBRATION, PROTOTYPES
from mambaad.artifacts.prototypes import Prototypes, prototypes_content
from mambaad.inference.engine import Observation
from mambaad.inspection.calibration import (
    Calibration,
    calibrate_class,
    calibration_content,
    read_calibration,
    summarise_part,
)
from mambaad.inspection.decision import decide, nearest_product
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import Quality
from mambaad.inspection.records import Record, record_of
from mambaad.types import Verdict
from tests.runs import change, read

PRODUCTS = ("bolt", "nut")
GOOD = Quality(-1.0, 100.0, 0.0, 0.0, 40, 60)


def observed(score, distances=(0.1, 0.9), quality=GOOD):
    """A map of 8 x 12 with 6 warm pixels of which one is the hottest, and the image's quality."""
    m = np.full((8, 12), 0.1, np.float32)
    m[2:4, 2:5] = 0.8 * score
    m[2, 3] = score
    return Observation(float(score), m, np.asarray(distances)), quality


def summarised(parts, settings=ProductSettings()):  # noqa: B008  # it is never changed
    return [summarise_part(*part, settings, len(parts)) for part in parts]


def calibration(settings=None):
    settings = settings or ProductSettings()
    scores = np.linspace(0.5, 1.0, 199)  # 1 %: 0.9975 lies above 198 of 200
    some = [observed(s, (0.1 + 0.1 * i / 199, 0.9)) for i, s in enumerate(scores)]
    others = [observed(1, (1.2, 0.1))]
    bolts = calibrate_class(
        summarised(some, settings), 0, summarised(others), settings, fail_fpr=0.01, review_fpr=0.1
    )
    nuts = dataclasses.replace(bolts, scores=bolts.scores + 1)
    return Calibration({"bolt": bolts, "nut": nuts}, "hold-out", 0, "float32", "0")


def judge(part, settings=None, given=None):
    return decide(*part, PRODUCTS, calibration(settings), given)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.3, Verdict.PASS),
        (0.94, Verdict.PASS),
        (0.96, Verdict.REVIEW),
        (0.997, Verdict.REVIEW),
        (0.999, Verdict.FAIL),
        (5.0, Verdict.FAIL),
    ],
)
def test_both_thresholds(score, verdict):
    prediction = judge(observed(score))
    assert prediction.verdict is verdict
    assert prediction.product == "bolt"
    assert prediction.score == np.float32(score)
    assert len(prediction.regions) == (verdict is not Verdict.PASS)
    assert prediction.region_mask.any() == (verdict is not Verdict.PASS)
    assert bool(prediction.reason) == (verdict is not Verdict.PASS)


def test_what_comes_with_a_verdict():
    prediction = judge(observed(2.0), ProductSettings(mm_per_px=0.5))
    assert prediction.percentile == 100
    assert prediction.p_value == pytest.approx(1 / 200)
    low, high = prediction.heatmap_range
    fail = calibration().classes["bolt"].fail.value
    assert low == pytest.approx(0.1)
    assert (low + high) / 2 == pytest.approx(fail)  # the middle of the heatmap's colours
    (region,) = prediction.regions
    assert region.area_px == pytest.approx(6 * 25)  # 6 pixels of the map, 5 x 5 of the image each
    assert region.area_mm2 == pytest.approx(6 * 25 * 0.25)
    assert prediction.product_margin == pytest.approx(0.8)
    assert "2.0000 is above" in prediction.reason
    assert "which 1.0% of good parts exceed" in prediction.reason


def test_a_given_product_is_taken_as_it_is():
    prediction = judge(observed(1.2), given="nut")
    assert (prediction.product, prediction.product_margin) == ("nut", None)
    assert judge(observed(1.2, (5.0, 5.0)), given="bolt").verdict is Verdict.FAIL


def test_the_way_to_the_nearest_other_class():
    some = summarised([observed(1, (d, 0.0)) for d in (0.1, 0.2)])
    other = summarised([observed(1, (d, 0.0)) for d in (1.0, 0.7)])
    kwargs = {"fail_fpr": 0.01, "review_fpr": 0.1}
    limit = calibrate_class(some, 0, other, ProductSettings(), **kwargs).unknown_beyond
    assert limit == pytest.approx(0.2 + 0.4 * 0.5)
    near = summarised([observed(1, (0.15, 0.0))])  # classes that overlap
    assert calibrate_class(some, 0, near, ProductSettings(), **kwargs).unknown_beyond == 0.2
    assert calibrate_class(some, 0, [], ProductSettings(), **kwargs).unknown_beyond == 0.4


def test_an_image_of_no_known_product():
    prediction = judge(observed(0.3, (2.0, 3.0)))
    assert prediction.verdict is Verdict.UNKNOWN_PRODUCT
    assert prediction.product is None
    assert prediction.regions == ()
    assert prediction.percentile is None
    # And not a bad image of the nearest, unless it would be one of any product.
    odd = dataclasses.replace(GOOD, brightness=250.0)
    assert judge(observed(0.3, (2.0, 3.0), odd)).verdict is Verdict.BAD_IMAGE


def test_a_bad_image_says_why():
    dark = dataclasses.replace(GOOD, brightness=20.0)
    prediction = judge(observed(0.3, quality=dark))
    assert prediction.verdict is Verdict.BAD_IMAGE
    assert prediction.reason.startswith("too dark: mean grey level 20")


def test_defects_that_are_too_small_pass():
    small = ProductSettings(min_area_px=151)
    prediction = judge(observed(2.0), small)
    assert prediction.verdict is Verdict.PASS
    assert prediction.reason == "every anomalous region is smaller than 151 px"
    assert judge(observed(2.0), ProductSettings(min_area_px=150)).verdict is Verdict.FAIL


def test_what_is_not_inspected_does_not_count():
    inspected = np.ones((8, 12), dtype=bool)
    inspected[2, 3] = False
    settings = ProductSettings(inspected=inspected)
    c = calibration(settings).classes["bolt"]
    assert c.scores.max() == pytest.approx(0.8)
    prediction = judge(observed(1.05), settings)
    assert prediction.score == pytest.approx(0.84)
    assert not prediction.region_mask[2, 3]
    assert prediction.anomaly_map[2, 3] == np.float32(1.05)  # shown all the same


def test_what_a_residual_head_adds_outlines_and_does_not_decide():
    def with_head(score):
        plain, quality = observed(score)
        added = plain.anomaly_map.copy()
        added[5:, 6:] += 3  # where it is certain of a defect
        return plain._replace(anomaly_map=added, error_map=plain.anomaly_map), quality

    part = summarise_part(*with_head(0.7), ProductSettings(), 1)
    assert part.score == np.float32(0.7)
    assert part.pixels.max() == pytest.approx(3.1)
    assert judge(with_head(0.9)).verdict is Verdict.PASS
    failed = judge(with_head(2.0))
    assert (failed.verdict, failed.score) == (Verdict.FAIL, 2.0)
    (region,) = failed.regions  # that of the peak
    assert (region.area_px, region.peak) == (pytest.approx(6 * 25), 2.0)
    wider = with_head(2.0)
    wider[0].anomaly_map[2:4, 1:7] += 3
    (region,) = judge(wider).regions
    assert (region.area_px, region.peak) == (pytest.approx(12 * 25), 2.0)


def test_without_a_calibration_there_is_no_verdict():
    prediction = decide(*observed(2.0), PRODUCTS, None, None)
    assert prediction.verdict is None
    assert (prediction.product, prediction.score) == ("bolt", 2.0)
    unfinished = observed(2.0, np.empty(0))
    assert decide(*unfinished, PRODUCTS, None, None).product is None


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_map_that_is_not_a_number_never_passes(share):
    for score in (0.3, 2.0):
        some = observed(score)
        some[0].anomaly_map.flat[round(95 * (1 - share)) :] = np.nan
        for settings in (None, ProductSettings(min_area_px=10_000)):
            prediction = judge(some, settings, given="bolt")
            assert prediction.verdict is Verdict.FAIL
            assert prediction.reason


def test_distances_that_are_not_numbers_are_of_no_known_product():
    assert judge(observed(0.3, (np.nan, np.nan))).verdict is Verdict.UNKNOWN_PRODUCT


def test_a_class_without_calibration_does_not_pass():
    only_nuts = dataclasses.replace(calibration(), classes={"nut": calibration().classes["nut"]})
    for given in (None, "bolt"):
        prediction = decide(*observed(0.3), PRODUCTS, only_nuts, given)
        assert prediction.verdict is Verdict.UNKNOWN_PRODUCT
        assert prediction.reason == "there is no calibration of bolt"
        assert record_of(Path("a.png"), prediction).is_rejected
    assert Record(path="a.png").is_rejected  # no verdict is none to go on with


def test_the_nearest_product_and_how_sure():
    assert nearest_product(PRODUCTS, np.asarray([3.0, 1.0])) == ("nut", 0.5)
    assert nearest_product(PRODUCTS, np.asarray([1.0, 1.0])) == ("bolt", 0.0)
    assert nearest_product(("bolt",), np.asarray([3.0])) == ("bolt", None)


def test_the_product_is_one_whose_border_contains_the_image():
    # Nuts are of great variety: up to 0.9 from their mean is theirs, while bolts end at 0.6.
    both = calibration()
    nuts = dataclasses.replace(both.classes["nut"], unknown_beyond=0.9)
    both = dataclasses.replace(both, classes={**both.classes, "nut": nuts})
    assert both.classes["bolt"].unknown_beyond == pytest.approx(0.6, abs=0.1)
    far = np.asarray([0.75, 0.85])
    assert nearest_product(PRODUCTS, far)[0] == "bolt"
    assert nearest_product(PRODUCTS, far, both) == ("nut", 0.0)
    prediction = decide(*observed(0.3, far), PRODUCTS, both, None)
    assert (prediction.product, prediction.product_margin) == ("nut", 0.0)
    assert nearest_product(PRODUCTS, np.asarray([0.2, 0.6]), both) == ("bolt", pytest.approx(0.5))
    assert nearest_product(PRODUCTS, np.asarray([2.0, 3.0]), both)[0] == "bolt"  # in neither


def test_saved_and_read_back(tmp_path):
    inspected = np.random.default_rng(0).random((8, 12)) < 0.9
    before = calibration(ProductSettings(0.5, 12.0, inspected))
    means = np.zeros((2, 4), np.float32)
    change(
        tmp_path,
        {
            CALIBRATION: calibration_content(before),
            PROTOTYPES: prototypes_content(Prototypes((0.0, 1.0), PRODUCTS, means)),
        },
    )
    after = read(read_calibration, tmp_path, (8, 12))
    assert (after.method, after.folds, after.weights) == ("hold-out", 0, "0")
    for name in PRODUCTS:
        ours, theirs = (dataclasses.asdict(c.classes[name]) for c in (before, after))
        for key, value in ours.items():
            if isinstance(value, np.ndarray):
                assert np.array_equal(value, theirs[key])
        assert ours["fail"] == theirs["fail"]
        assert ours["limits"] == theirs["limits"]
        assert np.array_equal(theirs["settings"]["inspected"], inspected)
        assert theirs["settings"]["min_area_px"] == 12


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_one_by_one_streaming_and_all_at_once(calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    paths = sorted(many_parts.glob("*/test/*/*.png"))
    streamed = list(inspector.inspect_many(iter(paths)))
    arrays = list(inspector.inspect_many([pixels_of(path) for path in paths]))
    for path, a, b in zip(paths, streamed, arrays, strict=True):
        c = inspector.inspect(path)
        assert np.array_equal(a.anomaly_map, b.anomaly_map)
        assert np.array_equal(a.anomaly_map, c.anomaly_map)
        for other in (b, c):
            assert (a.score, a.verdict, a.product) == (other.score, other.verdict, other.product)
            assert (a.regions, a.reason, a.quality) == (other.regions, other.reason, other.quality)


def test_a_stream_reads_no_further_than_it_must(calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield next((many_parts / "nut" / "test" / "good").iterdir())

    stream = inspector.inspect_many(endless())
    next(stream)
    assert len(taken) <= 4
    stream.close()


def test_a_camera_may_reuse_its_buffer_and_wait_for_each_verdict(calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    paths = sorted(many_parts.glob("*/test/*/*.png"))[:5]
    expected = [inspector.inspect(path).score for path in paths]
    buffer = np.zeros((80, 72, 3), np.uint8)
    scores = []

    def camera():
        for number, path in enumerate(paths):
            assert len(scores) == number
            buffer[:] = pixels_of(path)
            yield buffer

    for prediction in inspector.inspect_many(camera()):
        scores.append(prediction.score)
    assert scores == expected
    assert len(set(scores)) == 5
    mixed = [paths[0], pixels_of(paths[1]), paths[2], str(paths[3]), pixels_of(paths[4])]
    assert [p.score for p in inspector.inspect_many(mixed)] == expected


def test_blurred_dark_and_foreign_images(calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    pixels = pixels_of(many_parts / "bolt" / "test" / "good" / "000.png")
    assert inspector.inspect(pixels).verdict in (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(4))
    assert inspector.inspect(np.asarray(blurred), "bolt").verdict is Verdict.BAD_IMAGE
    assert inspector.inspect(pixels // 8, "bolt").verdict is Verdict.BAD_IMAGE
    foreign = np.random.default_rng(0).integers(0, 255, (80, 72, 3), np.uint8)
    assert inspector.inspect(foreign).verdict in (Verdict.UNKNOWN_PRODUCT, Verdict.BAD_IMAGE)
