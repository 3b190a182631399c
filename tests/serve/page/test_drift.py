import numpy as np
import pytest

from mambaad.inspection.drift import drift_evidence, first_alarm
from mambaad.serve.page import queries
from mambaad.serve.page.drift import DriftBook
from tests.serve.page.lines import BUNDLE, calibration, fill_quickly, make_parts, minutes_ago, rows


@pytest.fixture
def parts(tmp_path):
    parts = make_parts(tmp_path)
    fill_quickly(parts, 900)
    yield parts
    parts.store.close()


def passed_scores(parts, product):
    _, records = parts.store.read(lambda c: queries.inspected_after(c, 0, BUNDLE, "", 10_000))
    return [r["score"] for r in records if r["product"] == product and r["verdict"] == "PASS"]


def test_the_figures_are_those_of_the_test_over_all_parts(parts):
    book = DriftBook(calibration(), BUNDLE)
    assert book.catch_up(parts.store)
    c = calibration().classes["bolt"]
    expected = drift_evidence(c.scores[c.scores < c.review.value], passed_scores(parts, "bolt"))
    score, sharpness, brightness = book.shown(is_behind=False).products["bolt"]
    assert score.parts == len(expected) > 250
    assert score.now == pytest.approx(expected[-1])
    assert score.highest == pytest.approx(expected.max())
    assert score.alarm is None
    # All of the made-up images have one sharpness and brightness, which calibration's did not.
    assert book.level == pytest.approx(-np.log(0.01 / 6))
    below = c.scores < c.review.value
    alarm = first_alarm(drift_evidence(c.brightness[below], [120.0] * score.parts), 0.01 / 6)
    assert brightness.alarm == (None if alarm is None else alarm + 1)
    assert sharpness.figure == "sharpness"


def test_it_takes_up_only_what_is_new(parts):
    at_once, in_steps = DriftBook(calibration(), BUNDLE), DriftBook(calibration(), BUNDLE)
    in_steps.catch_up(parts.store)
    fill_quickly(parts, 1400, first=900)
    assert in_steps.catch_up(parts.store)
    assert at_once.catch_up(parts.store)
    assert in_steps.shown(False).products == at_once.shown(False).products


def test_parts_of_another_bundle_or_of_before_are_not_tested(parts):
    for book in (DriftBook(calibration(), "a" * 64), DriftBook(calibration(), BUNDLE, "2999")):
        book.catch_up(parts.store)
        assert all(w.parts == 0 for w in book.shown(False).products["bolt"])


def test_it_stops_when_its_time_is_over_and_goes_on(parts):
    book = DriftBook(calibration(), BUNDLE)
    assert not book.catch_up(parts.store, seconds=0)
    book.go_on(parts.store)
    book._thread.join(20)
    assert book.catch_up(parts.store, seconds=0)


def test_a_part_that_is_kept_after_a_younger_one_is_tested_too(tmp_path):
    parts = make_parts(tmp_path)
    book = DriftBook(calibration(), BUNDLE)
    for kept, number in enumerate((4, 2, 0), 1):  # all PASS, all bolt
        parts.store.add_inspection(*rows(number, minutes_ago(0))).result(20)
        assert book.catch_up(parts.store)
        assert sum(book._verdicts["bolt"].values()) == kept
    assert book._last == parts.store.last_event()
    parts.store.close()
