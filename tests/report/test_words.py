import numpy as np
import pytest

from mambaad.inspection.prediction import Prediction
from mambaad.report.words import how_sure, image_shape, outcome, what, where
from mambaad.types import Region, Verdict

LOW = np.zeros((4, 4), np.float32)


def region(x, y, mm2=None):
    return Region((x - 5, y - 3, x + 5, y + 3), 40.0, mm2, 1.0, (x, y))


def test_what():
    one, two = (region(9, 9),), (region(9, 9), region(50, 9))
    said = {
        "Looks good.": Prediction(0.1, LOW, verdict=Verdict.PASS),
        "Looks good: what stands out is smaller than the smallest defect.": Prediction(
            0.9, LOW, verdict=Verdict.PASS, reason="every anomalous region is smaller"
        ),
        "Looks defective in one place.": Prediction(0.9, LOW, verdict=Verdict.FAIL, regions=one),
        "Looks defective in 2 places.": Prediction(0.9, LOW, verdict=Verdict.FAIL, regions=two),
        "Looks defective.": Prediction(0.9, LOW, verdict=Verdict.FAIL),
        "Perhaps defective in one place: a person should look.": Prediction(
            0.5, LOW, verdict=Verdict.REVIEW, regions=one
        ),
        "Looks like none of the known products, so it was not judged.": Prediction(
            0.5, LOW, verdict=Verdict.UNKNOWN_PRODUCT
        ),
        "The image cannot be judged: blurred.": Prediction(
            0.5, LOW, verdict=Verdict.BAD_IMAGE, reason="blurred"
        ),
        "": Prediction(0.5, LOW),
    }
    for sentence, prediction in said.items():
        assert what(prediction) == sentence


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (5, 5, "upper left"),
        (30, 5, "top"),
        (55, 5, "upper right"),
        (5, 45, "left"),
        (30, 45, "centre"),
        (55, 45, "right"),
        (5, 85, "lower left"),
        (30, 85, "bottom"),
        (55, 85, "lower right"),
    ],
)
def test_where(x, y, place):
    assert where([region(x, y)], (90, 60)) == f"{place} (x {x}, y {y}), 10 x 6 px"


def test_where_of_several_and_in_square_millimetres():
    assert where([], (90, 60)) == ""
    several = [region(5, 5, 1.234), region(55, 85)]
    assert where(several, (90, 60)) == ("worst at the upper left (x 5, y 5), 10 x 6 px, 1.23 mm²")


def test_a_place_is_one_of_the_image_and_not_of_what_is_kept_of_it():
    kept = (45, 30)
    assert image_shape(Prediction(0.1, LOW), kept) == kept
    read_by_strips = Prediction(0.1, LOW, quality={"height": 90, "width": 60})
    assert where([region(55, 85)], image_shape(read_by_strips, kept)).startswith("lower right")


def test_how_sure():
    unjudged, high = Prediction(0.5, LOW), Prediction(0.5, LOW, percentile=100.0)
    assert how_sure(unjudged, 1.0, 40) == ""
    assert how_sure(high, 1.84, 40) == (
        "1.8 times the limit for FAIL; scores above all 40 good parts of the calibration"
    )
    middle = Prediction(0.5, LOW, percentile=42.5)
    assert how_sure(middle, 0.31, 40).endswith("scores above 42 % of good parts")


def test_what_a_verdict_is_worth():
    worth = {
        (Verdict.PASS, False): "passed",
        (Verdict.PASS, True): "missed",
        (Verdict.REVIEW, False): "to review",
        (Verdict.REVIEW, True): "found",
        (Verdict.FAIL, False): "false alarm",
        (Verdict.FAIL, True): "found",
        (Verdict.BAD_IMAGE, True): "no decision",
        (Verdict.UNKNOWN_PRODUCT, False): "no decision",
        (None, True): "",
    }
    for (verdict, is_defective), words in worth.items():
        assert outcome(verdict, is_defective) == words
