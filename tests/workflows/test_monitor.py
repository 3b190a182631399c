import dataclasses
import json
import shutil

import numpy as np
import pytest

from mambaad.artifacts.manifest import CALIBRATION
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.calibration import calibration_content, read_calibration
from mambaad.inspection.records import Record
from mambaad.types import Verdict
from mambaad.workflows.monitor import monitor
from tests.runs import change, digest, read

QUALITY = {
    **{"sharpness": 0.0, "brightness": 100.0, "dark": 0.0, "bright": 0.0},
    **{"height": 80, "width": 72},
}


@pytest.fixture(scope="module")
def ground(calibrated_run):
    return read(read_calibration, calibrated_run, (64, 64)).classes["nut"]


def write(path, scores, model, *, brightness=None, verdict="PASS"):
    """Records of nuts with these scores."""
    lines = []
    for number, score in enumerate(scores):
        quality = dict(QUALITY)
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
    model = digest(calibrated_run)

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


def test_higher_scores_raise_an_alarm_that_names_the_part(log, ground, calibrated_run, tmp_path):
    def barely_passing(scores):
        # Ever closer to the threshold, and above all of calibration's scores that pass.
        return ground.review.value - 1e-9 * np.arange(len(scores), 0, -1)

    days = [log("monday", 20), log("tuesday", 60, barely_passing)]
    report = monitor(days, calibrated_run, plot=tmp_path / "drift.png")
    watch = watches(report)["score"]
    assert 20 < watch.alarm < 60
    assert watch.alarm_path == f"{watch.alarm - 21}.png"  # alarms count from 1
    assert watch.shift > 0.5
    (line,) = [a for a in report.alarms if "score" in a]
    assert line.startswith(f"nut: score changed, alarm at part {watch.alarm} of 80")
    content = json.loads(report.to_json())
    assert content["recalibrate"] == ["nut"]
    assert content["classes"]["nut"]["score"]["alarm_at"] == watch.alarm
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_a_lamp_that_dims_shows_before_scores_do(log, calibrated_run):
    report = monitor([log("monday", 80, dim=30.0)], calibrated_run)
    assert watches(report)["brightness"].alarm is not None
    assert watches(report)["score"].alarm is None


def test_only_passed_parts_count(calibrated_run, tmp_path):
    path = write(tmp_path / "a", [9.0] * 50, digest(calibrated_run), verdict="FAIL")
    report = monitor([path], calibrated_run)
    assert watches(report)["score"].parts == 0
    assert not report.is_watched


@pytest.mark.parametrize(
    ("passed", "failed", "is_few"),
    [(0, 19, False), (0, 20, True), (9, 11, True), (10, 10, False), (60, 0, False)],
)
def test_too_few_passed_parts_are_no_absence_of_drift(
    calibrated_run, tmp_path, passed, failed, is_few
):
    model = digest(calibrated_run)
    files = [
        write(tmp_path / "passed", [0.001] * passed, model),
        write(tmp_path / "failed", [9.0] * failed, model, verdict="FAIL"),
    ]
    report = monitor(files, calibrated_run)
    assert report.verdicts["nut"] == {
        verdict: count for verdict, count in (("PASS", passed), ("FAIL", failed)) if count
    }
    said = f"nut: {passed} of {passed + failed} parts passed: too few to watch"
    assert [line.startswith(said) for line in report.few_passed] == [True] * is_few
    assert json.loads(report.to_json())["few_passed"] == report.few_passed


def test_parts_of_unknown_products_count_among_all(calibrated_run, tmp_path):
    lines = [Record(path="a", verdict="UNKNOWN PRODUCT").model_dump_json()] * 30
    lines += [Record(path="a", product="nut", verdict="PASS").model_dump_json()] * 10
    lines += [Record(path="a", error="it cannot be read").model_dump_json()] * 99
    (tmp_path / "a").write_text("\n".join(lines), encoding="utf-8")
    report = monitor([tmp_path / "a"], calibrated_run)
    (line,) = report.few_passed
    assert line.startswith("all classes: 10 of 40 parts passed")
    heading, unknown, nuts = report.verdict_rows()
    assert heading == ["class", *(verdict.value for verdict in Verdict), "no verdict"]
    assert unknown == ["unknown", "0", "0", "0", "30", "0", "99"]
    assert nuts == ["nut", "10", "0", "0", "0", "0", "0"]


def test_scores_of_other_models_are_not_watched(log, calibrated_run, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    calibration = read(read_calibration, run, (64, 64))
    crossed = dataclasses.replace(calibration, method="cross-fit", folds=3)
    change(run, {CALIBRATION: calibration_content(crossed)})
    # Lower, as those of the run's own model are.
    report = monitor([log("monday", 60, lambda scores: 0.5 * scores)], run)
    assert set(watches(report)) == {"sharpness", "brightness"}
    assert report.level == pytest.approx(np.log(2 * 2 / 0.01))
    assert report.notes == [
        "score: not watched, because cross-fitting's scores come from other models"
    ]
    assert monitor([log("monday", 60)], calibrated_run).notes == []


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("sharpness", None, r"quality\.sharpness: field required"),
        ("brightness", float("nan"), "expected finite numbers, got NaN"),
        ("height", "tall", r"quality\.height: input should be a valid integer"),
    ],
)
def test_a_malformed_quality_is_one_line(calibrated_run, tmp_path, field, value, complaint):
    quality = {k: v for k, v in {**QUALITY, field: value}.items() if v is not None}
    good = Record(path="a").model_dump_json()
    (tmp_path / "a").write_text(f"{good}\n{json.dumps({'path': 'b', 'quality': quality})}\n")
    with pytest.raises(DataError, match=f"a, line 2: {complaint}"):
        monitor([tmp_path / "a"], calibrated_run)
    (tmp_path / "a").write_text('{"path": "b", "score": Infinity}\n')
    with pytest.raises(DataError, match="a, line 1: expected finite numbers, got Infinity"):
        monitor([tmp_path / "a"], calibrated_run)


def test_wrong_arguments_are_refused(log, calibrated_run, trained_run, tmp_path):
    day = log("monday", 3)
    with pytest.raises(ConfigError, match="--false-alarm-rate: expected a share"):
        monitor([day], calibrated_run, false_alarm_rate=1)
    with pytest.raises(RunError, match="has no calibration"):
        monitor([day], trained_run)
    with pytest.raises(ConfigError, match=r"expected a \.png or \.svg file"):
        monitor([day], calibrated_run, plot=tmp_path / "a.gif")
    with pytest.raises(DataError, match="cannot be read"):
        monitor([tmp_path / "absent"], calibrated_run)
    with pytest.raises(DataError, match="was inspected by another model"):
        monitor([write(tmp_path / "b", [1.0], "0" * 64)], calibrated_run)
    (tmp_path / "c").write_text('{"path": "a"}\n{"path": 3}\n')
    with pytest.raises(DataError, match=r"c, line 2: path: input should be a valid string"):
        monitor([tmp_path / "c"], calibrated_run)
