"""Streams through a real model: verdicts of frames, of joined frames, and calibration by cycle."""

import threading
import time

import numpy as np
import pytest

import mambaad
from mambaad.capture.plan import Plan
from mambaad.capture.triggers import Signals
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.cycle_calibration import calibrate_cycles, read_cycle_calibration
from tests.videos import belt, write_video

CHANGE = "change:10,10,50,50"


@pytest.fixture(scope="module")
def inspector(calibrated_run):
    return mambaad.Inspector(calibrated_run)


def test_a_video_gives_what_its_frames_give(inspector, tmp_path):
    frames = belt([False, True], stays=2, gap=1)
    parts = list(inspector.stream(write_video(tmp_path / "a.mkv", frames)))
    assert len(parts) == len(frames)
    for number, (part, pixels) in enumerate(zip(parts, frames, strict=True)):
        expected = inspector.inspect(pixels)
        assert part.record.score == expected.score
        assert part.record.verdict is expected.verdict
        assert part.record.frame == number
        assert part.record.source == str(tmp_path / "a.mkv")
        assert np.array_equal(part.prediction.image, pixels)


def test_frames_of_parts_are_joined(inspector, tmp_path):
    frames = belt([False, True, False], stays=5, gap=4)
    plan = Plan(CHANGE, frames=3, delay=1)
    parts = list(inspector.stream(write_video(tmp_path / "a.mkv", frames), plan, product="bolt"))
    begins = [4, 13, 22]
    assert [[one.frame for one in p.record.frames] for p in parts] == [
        [begin + 1, begin + 2, begin + 3] for begin in begins
    ]
    for part, begin in zip(parts, begins, strict=True):
        alone = inspector.inspect(frames[begin + 1 : begin + 4], product="bolt")
        scores = [p.score for p in alone]
        assert [one.score for one in part.record.frames] == pytest.approx(scores)
        assert part.record.verdict is None  # there are no thresholds by cycle


def test_thresholds_by_cycle_hold_their_rate_on_parts(inspector, tmp_path):
    """The share of good parts above them, on the calibration's own parts, is what was asked."""
    plan = Plan(CHANGE, frames=3, delay=1)
    video = write_video(tmp_path / "good.mkv", belt([False] * 19, stays=4, gap=2))
    good = [p.record.score for p in inspector.stream(video, plan, product="bolt")]
    assert len(good) == 19
    found = calibrate_cycles(good, inspector, "bolt", plan, "good", review_fpr=0.2, target_fpr=0.1)
    assert sum(score > found.review.value for score in good) == 3  # at most 4 of 20, one is new
    assert sum(score > found.fail.value for score in good) == 1
    found.save(tmp_path / "cycles.json")
    again = read_cycle_calibration(tmp_path / "cycles.json")
    assert again == found
    parts = list(inspector.stream(video, product="bolt", thresholds=again))
    verdicts = [p.record.verdict.value for p in parts]
    assert (verdicts.count("FAIL"), verdicts.count("REVIEW"), verdicts.count("PASS")) == (1, 2, 16)


def test_thresholds_of_another_model_or_plan_are_refused(inspector, trained_run, tmp_path):
    found = calibrate_cycles([1.0, 2.0], inspector, "bolt", Plan(frames=2), "good")
    video = write_video(tmp_path / "a.mkv", belt([False]))
    with pytest.raises(RunError, match=r"made with another model.*\(weights, frame_thresholds\)"):
        mambaad.Inspector(trained_run).stream(video, thresholds=found)
    with pytest.raises(ConfigError, match="was made with Plan"):
        inspector.stream(video, Plan(frames=3), thresholds=found)
    (tmp_path / "other.json").write_text('{"format": 2}')
    with pytest.raises(RunError, match=r"other.json is no calibration by cycle"):
        read_cycle_calibration(tmp_path / "other.json")


def test_signals_choose_the_frames_of_a_program(inspector):
    signals, frames = Signals(), belt([False, True], stays=2, gap=2)

    def camera():
        yield frames[0]
        signals.fire("A")
        time.sleep(0.01)
        yield frames[2]
        yield frames[4]
        signals.fire("B")
        time.sleep(0.01)
        yield frames[6]

    parts = list(inspector.stream(camera(), Plan("signal"), product="bolt", signals=signals))
    assert [(p.record.serial, p.record.frame) for p in parts] == [("A", 1), ("B", 3)]
    assert parts[1].record.score == inspector.inspect(frames[6], product="bolt").score


def test_a_slow_inspection_drops_parts_only_if_it_is_live(inspector):
    frames = belt([False], stays=20, gap=5)
    every = [p.record.cycle for p in inspector.stream(iter(frames))]
    assert every == list(range(1, 31))
    live = []
    for part in inspector.stream(iter(frames), policy="live"):
        live.append(part.record)
        time.sleep(0.02)
    assert len(live) < 30
    assert len(live) + sum(record.dropped for record in live) == 30
    assert live[-1].cycle == 30


def test_closing_the_stream_ends_its_thread(inspector):
    def endless():
        while True:
            yield np.full((80, 72, 3), 90, np.uint8)

    parts = inspector.stream(endless())
    next(parts)
    parts.close()
    assert "capture" not in {thread.name for thread in threading.enumerate()}


def test_what_is_no_source_is_refused_at_once(inspector, tmp_path):
    with pytest.raises(DataError, match="does not exist; give a video file"):
        inspector.stream(tmp_path / "none.mp4")
    with pytest.raises(ConfigError, match="--class: the model was not trained on 'screw'"):
        inspector.stream(tmp_path, product="screw")
    with pytest.raises(ConfigError, match="has no clock"):
        inspector.stream(tmp_path, Plan("signal"), signals=Signals())
