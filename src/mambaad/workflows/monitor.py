"""Drift: whether the parts that pass today look as the calibration's good parts did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mambaad.artifacts.bundle import opened
from mambaad.artifacts.run_folder import read_config, weights_digest
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import written_whole
from mambaad.inspection.calibration import ClassCalibration, Method, read_calibration
from mambaad.inspection.drift import drift_evidence, first_alarm
from mambaad.inspection.records import Record, read_records
from mambaad.types import Verdict

WATCHED = ("score", "sharpness", "brightness")
_JUDGED = 20
"""So many parts, and fewer than half of them passed: then it is not drift that is to be looked at.

A plain rule, with no stated rate of false alarms.
"""
_UNJUDGED = "no verdict"


@dataclass(frozen=True)
class Watch:
    """One figure of one class's passed parts.

    ``parts``: how many there were. ``evidence``: after each, the logarithm of how much more
    likely it looks that something has changed. ``alarm``: the part (from 1) at which it was sure.
    ``shift``: by how many of calibration's standard deviations the latest parts' median is off.
    """

    parts: int
    evidence: Float[np.ndarray, " n"]
    alarm: int | None
    alarm_path: str | None
    shift: float


@dataclass(frozen=True)
class DriftReport:
    """What was watched, by class, then by figure.

    ``level``: the log evidence of an alarm. ``method``: of the calibration. ``verdicts``: how many
    parts got which, by class; those of no known product under ``""``.
    """

    classes: Mapping[str, Mapping[str, Watch]]
    false_alarm_rate: float
    level: float
    method: Method
    verdicts: Mapping[str, Mapping[str, int]]

    @property
    def alarms(self) -> list[str]:
        """A line for each figure of a class that has changed."""
        return [
            f"{name}: a change of {figure} was noticed at part {watch.alarm} of {watch.parts} "
            f"({watch.shift:+.1f} standard deviations lately); calibrate again"
            for name, watches in self.classes.items()
            for figure, watch in watches.items()
            if watch.alarm is not None
        ]

    @property
    def few_passed(self) -> list[str]:
        """A line for each class of which too few parts passed, or one for all classes together."""
        together: Counter[str] = Counter()
        for counts in self.verdicts.values():
            together.update(counts)
        lines = [_few(name, counts) for name, counts in self.verdicts.items() if name]
        return [line for line in lines if line] or [
            line for line in [_few("all classes", together)] if line
        ]

    @property
    def is_watched(self) -> bool:
        """Whether there was any passed part to watch."""
        return any(watch.parts for watches in self.classes.values() for watch in watches.values())

    @property
    def notes(self) -> list[str]:
        """What was not watched, and why, a line each."""
        if self.method != "cross-fit":
            return []
        return ["score: not watched, as cross-fitting's scores are those of other models"]

    def verdict_rows(self) -> list[list[str]]:
        """A heading, and a row for each class: how many parts got which verdict."""
        columns = [*(verdict.value for verdict in Verdict), _UNJUDGED]
        return [
            ["class", *columns],
            *(
                [name or "none known", *(str(counts.get(column, 0)) for column in columns)]
                for name, counts in sorted(self.verdicts.items())
            ),
        ]

    def to_json(self) -> str:
        """The figures as JSON text."""
        content = {
            "false_alarm_rate": self.false_alarm_rate,
            "alarm_level": self.level,
            "recalibrate": sorted(
                name
                for name, watches in self.classes.items()
                if any(watch.alarm is not None for watch in watches.values())
            ),
            "verdicts": {name: dict(counts) for name, counts in self.verdicts.items()},
            "few_passed": self.few_passed,
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
    since calibration: the stated rate holds for all looks together. After cross-fitting scores are
    not compared: calibration's are those of other models than the one that inspects.

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
    passed, verdicts = _sorted(predictions, weights, source)
    watched = [f for f in WATCHED if f != "score" or calibration.method != "cross-fit"]
    each = false_alarm_rate / (len(watched) * len(calibration.classes))
    report = DriftReport(
        {
            name: {figure: _watch(c, figure, passed.get(name, []), each) for figure in watched}
            for name, c in calibration.classes.items()
        },
        false_alarm_rate,
        float(-np.log(each)),
        calibration.method,
        verdicts,
    )
    if plot is not None:
        _draw(report, Path(plot))
    return report


def _few(name: str, counts: Mapping[str, int]) -> str | None:
    judged = sum(counts.values()) - counts.get(_UNJUDGED, 0)
    passed = counts.get(Verdict.PASS.value, 0)
    if judged < _JUDGED or 2 * passed >= judged:
        return None
    return (
        f"{name}: {passed} of {judged} parts passed: too few to watch; see the reasons of the "
        "others, and calibrate again if they are good"
    )


def _sorted(
    predictions: Iterable[str | Path], weights: str, source: str | Path
) -> tuple[dict[str, list[Record]], dict[str, Counter[str]]]:
    """The parts that passed, by class; and how many got which verdict."""
    passed: dict[str, list[Record]] = {}
    verdicts: dict[str, Counter[str]] = {}
    for path in map(Path, predictions):
        for record in read_records(path):
            if record.model not in (None, weights):
                raise DataError(
                    f"{path}: {record.path} was inspected by another model than {source}; give "
                    "the bundle that was in use"
                )
            verdict = record.verdict.value if record.verdict else _UNJUDGED
            verdicts.setdefault(record.product or "", Counter())[verdict] += 1
            if record.verdict is Verdict.PASS and record.product and record.score is not None:
                passed.setdefault(record.product, []).append(record)
    return passed, verdicts


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
        values = np.asarray([getattr(r.quality, figure) for r in known], dtype=float)
    evidence = drift_evidence(before, values)
    alarm = first_alarm(evidence, false_alarm_rate)
    lately = values[-max(len(before), 20) :]
    shift = 0.0
    if len(values) and len(before):
        shift = float(np.median(lately) - np.median(before)) / max(float(before.std()), 1e-9)
    if alarm is None:
        return Watch(len(values), evidence, None, None, shift)
    return Watch(len(values), evidence, alarm + 1, known[alarm].path, shift)


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
