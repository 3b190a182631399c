"""Drift: whether the parts that pass today look as the calibration's good parts did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import written_whole
from mambaad.inspection.bundle import opened
from mambaad.inspection.calibration import ClassCalibration, read_calibration
from mambaad.inspection.drift import drift_evidence, first_alarm
from mambaad.inspection.records import Record, read_records
from mambaad.run import read_config, weights_digest
from mambaad.types import Verdict

WATCHED = ("score", "sharpness", "brightness")


@dataclass(frozen=True)
class Watch:
    """One figure of one class's passed parts.

    ``parts``: how many there were. ``evidence``: after each, the logarithm of how much more
    likely it looks that something has changed. ``alarm``: the part (from 0) at which it was sure.
    ``shift``: by how many of calibration's standard deviations the latest parts' median is off.
    """

    parts: int
    evidence: Float[np.ndarray, " n"]
    alarm: int | None
    alarm_path: str | None
    shift: float


@dataclass(frozen=True)
class DriftReport:
    """By class, then by figure. ``level``: the log evidence of an alarm."""

    classes: Mapping[str, Mapping[str, Watch]]
    false_alarm_rate: float
    level: float

    @property
    def alarms(self) -> list[str]:
        """A line for each figure of a class that has changed."""
        return [
            f"{name}: {figure} has changed since part {watch.alarm + 1} of {watch.parts} "
            f"({watch.shift:+.1f} standard deviations lately); calibrate again"
            for name, watches in self.classes.items()
            for figure, watch in watches.items()
            if watch.alarm is not None
        ]

    def to_json(self) -> str:
        """The figures as JSON text."""
        content = {
            "false_alarm_rate": self.false_alarm_rate,
            "alarm_level": self.level,
            "recalibrate": sorted({a.split(":")[0] for a in self.alarms}),
            "classes": {
                name: {
                    figure: {
                        "parts": watch.parts,
                        "evidence": round(float(watch.evidence[-1]), 4) if watch.parts else 0.0,
                        "highest_evidence": round(float(watch.evidence.max(initial=0.0)), 4),
                        "alarm_at": watch.alarm,
                        "alarm_path": watch.alarm_path,
                        "shift": round(watch.shift, 3),
                    }
                    for figure, watch in watches.items()
                }
                for name, watches in self.classes.items()
            },
        }
        return json.dumps(content, indent=2) + "\n"


def monitor(
    predictions: Sequence[str | Path],
    source: str | Path,
    *,
    false_alarm_rate: float = 0.01,
    plot: str | Path | None = None,
) -> DriftReport:
    """Look for drift in the records of inspected parts, oldest first.

    Each class's passed parts are compared with those calibration parts that would have passed:
    scores, sharpness and brightness of the images. It may be run daily over all that has come
    since calibration: the stated rate holds for all looks together.

    Args:
        predictions: files of records (``predictions.jsonl``), in the order of time.
        source: the calibrated run or bundle that they are of.
        false_alarm_rate: the chance of any alarm, ever, while nothing changes.
        plot: a PNG or SVG file to draw the evidence to.

    Raises:
        ConfigError: a rate that is none.
        DataError: records that cannot be read, or are of another model.
        RunError: no calibration, or a plot that cannot be written.
    """
    if not 0 < false_alarm_rate < 1:
        raise ConfigError(
            f"--false-alarm-rate: expected a share above 0 and below 1, got {false_alarm_rate}"
        )
    with opened(Path(source)) as run:
        calibration = read_calibration(run, read_config(run).size)
        weights = weights_digest(run)
    if calibration is None:
        raise RunError(f"{source} has no calibration; run mambaad calibrate first")
    passed = _passed(predictions, weights, source)
    each = false_alarm_rate / (len(WATCHED) * len(calibration.classes))
    report = DriftReport(
        {
            name: {figure: _watch(c, figure, passed.get(name, []), each) for figure in WATCHED}
            for name, c in calibration.classes.items()
        },
        false_alarm_rate,
        float(-np.log(each)),
    )
    if plot is not None:
        _draw(report, Path(plot))
    return report


def _passed(
    predictions: Iterable[str | Path], weights: str, source: str | Path
) -> dict[str, list[Record]]:
    passed: dict[str, list[Record]] = {}
    for path in map(Path, predictions):
        for record in read_records(path):
            if record.model not in (None, weights):
                raise DataError(
                    f"{path}: {record.path} was inspected by another model than {source}; give "
                    "the bundle that was in use"
                )
            if record.verdict is Verdict.PASS and record.product and record.score is not None:
                passed.setdefault(record.product, []).append(record)
    return passed


def _watch(
    c: ClassCalibration, figure: str, records: Sequence[Record], false_alarm_rate: float
) -> Watch:
    # Only parts that pass are compared, so only those of calibration that would have; below the
    # threshold, which is one of its scores and so no chance draw, they are like any others.
    passing = c.scores < c.review.value
    limit = c.review.value
    known = [r for r in records if r.quality and r.score is not None and r.score <= limit]
    if figure == "score":
        before, values = c.scores[passing], np.asarray([r.score for r in known], dtype=float)
    else:
        before = (c.sharpness if figure == "sharpness" else c.brightness)[passing]
        values = np.asarray([r.quality[figure] for r in known if r.quality], dtype=float)
    evidence = drift_evidence(before, values)
    alarm = first_alarm(evidence, false_alarm_rate)
    lately = values[-max(len(before), 20) :]
    shift = 0.0
    if len(values) and len(before):
        shift = float(np.median(lately) - np.median(before)) / max(float(before.std()), 1e-9)
    path = known[alarm].path if alarm is not None else None
    return Watch(len(values), evidence, alarm, path, shift)


def _draw(report: DriftReport, path: Path) -> None:
    figure = Figure(figsize=(8, 1.2 + 1.5 * len(report.classes)), layout="constrained")
    rows = figure.subplots(len(report.classes), 1, squeeze=False)[:, 0]
    for axes, (name, watches) in zip(rows, report.classes.items(), strict=True):
        for label, watch in watches.items():
            axes.plot(np.arange(1, watch.parts + 1), watch.evidence, label=label)
        axes.axhline(report.level, color="black", linestyle="--", linewidth=1)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("log evidence")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].legend(frameon=False, fontsize=8, ncols=len(WATCHED))
    rows[-1].set_xlabel("passed parts since calibration (dashed: alarm)")
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("png", "svg"):
        raise ConfigError(f"--plot: {path} is neither .png nor .svg; name one of them")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=120)
