import json

import numpy as np
import pytest

from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.calibration import read_calibration
from mambaad.inspection.records import Record
from mambaad.monitor import monitor
from mambaad.run import weights_digest


@pytest.fixture(scope="module")
def ground(calibrated_run):
    return read_calibration(calibrated_run, (64, 64)).classes["nut"]


def write(path, scores, model, *, brightness=None, verdict="PASS"):
    """Records of nuts with these scores."""
    lines = []
    for number, score in enumerate(scores):
        quality = {"sharpness": 0.0, "brightness": 100.0}
        if brightness is not None:
            quality["brightness"] = float(brightness[number])
        record = Record(
            path=f"{number}.png",
            model=model,
            product="nut",
            verdict=verdict,
            score=float(score),
            quality=quality,
        )
        lines.append(record.model_dump_json())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def log(tmp_path, calibrated_run, ground):
    """Days of parts: their figures are drawn from calibration's own, changed as asked."""
    model = weights_digest(calibrated_run)

    def make(name, count, change=lambda scores: scores, dim=0.0):
        random = np.random.default_rng(5)
        passing = ground.scores[ground.scores < ground.review.value]
        scores = random.choice(passing, count) + random.normal(0, 1e-5, count)
        brightness = random.choice(ground.brightness, count) - dim
        return write(tmp_path / name, change(scores), model, brightness=brightness)

    return make


def watches(report):
    return report.classes["nut"]


def test_days_like_calibration_raise_no_alarm(log, calibrated_run):
    report = monitor([log("monday", 30), log("tuesday", 30)], calibrated_run)
    assert watches(report)["score"].parts == 60
    assert watches(report)["score"].alarm is None
    assert watches(report)["brightness"].alarm is None
    assert report.classes["bolt"]["score"].parts == 0


def test_higher_scores_are_found_and_where(log, ground, calibrated_run, tmp_path):
    def barely_passing(scores):
        return ground.review.value - 1e-6 * np.arange(1, len(scores) + 1)

    days = [log("monday", 20), log("tuesday", 60, barely_passing)]
    report = monitor(days, calibrated_run, plot=tmp_path / "drift.png")
    watch = watches(report)["score"]
    assert 20 < watch.alarm < 60
    assert watch.alarm_path == f"{watch.alarm - 20}.png"
    assert watch.shift > 0.5
    (line,) = [a for a in report.alarms if "score" in a]
    assert line.startswith("nut: score has changed since part")
    content = json.loads(report.to_json())
    assert content["recalibrate"] == ["nut"]
    assert content["classes"]["nut"]["score"]["alarm_at"] == watch.alarm
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_a_lamp_that_dims_shows_before_scores_do(log, calibrated_run):
    report = monitor([log("monday", 80, dim=30.0)], calibrated_run)
    assert watches(report)["brightness"].alarm is not None
    assert watches(report)["score"].alarm is None


def test_only_passed_parts_count(calibrated_run, tmp_path):
    path = write(tmp_path / "a", [9.0] * 50, weights_digest(calibrated_run), verdict="FAIL")
    assert watches(monitor([path], calibrated_run))["score"].parts == 0


def test_what_cannot_be_monitored(log, calibrated_run, trained_run, tmp_path):
    day = log("monday", 3)
    with pytest.raises(ConfigError, match="--false-alarm-rate: expected a share"):
        monitor([day], calibrated_run, false_alarm_rate=1)
    with pytest.raises(RunError, match="has no calibration"):
        monitor([day], trained_run)
    with pytest.raises(ConfigError, match=r"is neither \.png nor \.svg"):
        monitor([day], calibrated_run, plot=tmp_path / "a.gif")
    with pytest.raises(DataError, match="cannot be read"):
        monitor([tmp_path / "absent"], calibrated_run)
    with pytest.raises(DataError, match="was inspected by another model"):
        monitor([write(tmp_path / "b", [1.0], "0" * 64)], calibrated_run)
    (tmp_path / "c").write_text('{"path": "a"}\n{"path": 3}\n')
    with pytest.raises(DataError, match=r"c, line 2: path: input should be a valid string"):
        monitor([tmp_path / "c"], calibrated_run)
