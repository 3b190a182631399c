"""``mambaad monitor``: drift between the parts that pass and the calibration's good parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import printable, written_whole
from mambaad.inspection.calibration import ClassCalibration, Method, read_calibration
from mambaad.inspection.drift import drift_evidence, first_alarm
from mambaad.inspection.records import Record, read_records
from mambaad.types import Verdict

WATCHED = ("score", "sharpness", "brightness")
_MIN_JUDGED = 20
"""The fewest judged parts of which it is reported that fewer than half passed.

A rule of thumb, without a stated false-alarm rate.
"""
_UNJUDGED = "no verdict"


@dataclass(frozen=True)
class Watch:
    """The drift test of one figure over one class's passed parts.

    Attributes:
        parts: the number of passed parts.
        evidence: the log evidence of a change after each part.
        alarm: the number, from 1, of the part at which the alarm was raised; None without one.
        alarm_path: that part's image.
        shift: how far the median of the latest parts has moved, in calibration's standard
            deviations.
    """

    parts: int
    evidence: Float[np.ndarray, " n"]
    alarm: int | None
    alarm_path: str | None
    shift: float


@dataclass(frozen=True)
class DriftReport:
    """The drift tests by class, then by figure.

    Attributes:
        classes: each class's watched figures.
        false_alarm_rate: the chance of any alarm, ever, while nothing changes.
        level: the log evidence at which an alarm is raised.
        method: of the calibration.
        verdicts: counts of verdicts by class; parts of unknown products are under ``""``.
    """

    classes: Mapping[str, Mapping[str, Watch]]
    false_alarm_rate: float
    level: float
    method: Method
    verdicts: Mapping[str, Mapping[str, int]]

    @property
    def alarms(self) -> list[str]:
        """One line for each figure of a class that has changed."""
        return [
            f"{name}: {figure} changed, alarm at part {watch.alarm} of {watch.parts} "
            f"({watch.shift:+.1f} standard deviations recently); calibrate again"
            for name, watches in self.classes.items()
            for figure, watch in watches.items()
            if watch.alarm is not None
        ]

    @property
    def few_passed(self) -> list[str]:
        """One line for each class of which too few parts passed, or else one for all classes."""
        total: Counter[str] = Counter()
        for counts in self.verdicts.values():
            total.update(counts)
        lines = [_too_few_passed(name, counts) for name, counts in self.verdicts.items() if name]
        return [line for line in lines if line] or [
            line for line in [_too_few_passed("all classes", total)] if line
        ]

    @property
    def is_watched(self) -> bool:
        """True if any passed part was watched."""
        return any(watch.parts for watches in self.classes.values() for watch in watches.values())

    @property
    def notes(self) -> list[str]:
        """One line for each figure that is not watched, with the reason."""
        if self.method != "cross-fit":
            return []
        return ["score: not watched, because cross-fitting's scores come from other models"]

    def verdict_rows(self) -> list[list[str]]:
        """Make a heading and a row per class: the number of parts by verdict."""
        columns = [*(verdict.value for verdict in Verdict), _UNJUDGED]
        return [
            ["class", *columns],
            *(
                [name or "unknown", *(str(counts.get(column, 0)) for column in columns)]
                for name, counts in sorted(self.verdicts.items())
            ),
        ]

    def to_json(self) -> str:
        """Format the report as JSON."""
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
    """Test the records of inspected parts for drift, oldest first.

    Scores, sharpness and brightness of each class's passed parts are compared with those of the
    calibration parts that would have passed. It may be run daily over all parts since calibration:
    the stated rate holds for all runs together. After cross-fitting, scores are not compared,
    because calibration's come from other models than the one that inspects.

    Args:
        predictions: files of records (``predictions.jsonl``), oldest first.
        source: the calibrated run or bundle that made them.
        false_alarm_rate: the chance of any alarm, ever, while nothing changes.
        plot: a PNG or SVG file to which the evidence is drawn.

    Raises:
        ConfigError: a rate outside (0, 1), or a plot of another format.
        DataError: records that cannot be read, or of another model.
        RunError: no calibration, or a plot that cannot be written.
    """
    if not 0 < false_alarm_rate < 1:
        raise ConfigError(
            f"--false-alarm-rate: expected a share above 0 and below 1, got {false_alarm_rate}"
        )
    with opened(source) as run:
        calibration = read_calibration(run, read_config(run).size)
        weights = run.digest(WEIGHTS)
    if calibration is None:
        raise RunError(f"{source} has no calibration; run mambaad calibrate first")
    passed, verdicts = _read_predictions(predictions, weights, source)
    watched = [f for f in WATCHED if f != "score" or calibration.method != "cross-fit"]
    rate_per_test = false_alarm_rate / (len(watched) * len(calibration.classes))
    report = DriftReport(
        {
            name: {
                figure: _watch(c, figure, passed.get(name, []), rate_per_test) for figure in watched
            }
            for name, c in calibration.classes.items()
        },
        false_alarm_rate,
        float(-np.log(rate_per_test)),
        calibration.method,
        verdicts,
    )
    if plot is not None:
        _draw(report, Path(plot))
    return report


def _too_few_passed(name: str, counts: Mapping[str, int]) -> str | None:
    judged = sum(counts.values()) - counts.get(_UNJUDGED, 0)
    passed = counts.get(Verdict.PASS.value, 0)
    if judged < _MIN_JUDGED or 2 * passed >= judged:
        return None
    return (
        f"{name}: {passed} of {judged} parts passed: too few to watch; see the reasons of the "
        "others, and calibrate again if those are good"
    )


def _read_predictions(
    predictions: Iterable[str | Path], weights: str, source: str | Path
) -> tuple[dict[str, list[Record]], dict[str, Counter[str]]]:
    """Read the records: those of passed parts by class, and counts of verdicts by class."""
    passed: dict[str, list[Record]] = {}
    verdicts: dict[str, Counter[str]] = {}
    for path in map(Path, predictions):
        for record in read_records(path):
            if record.model not in (None, weights):
                raise DataError(
                    f"{path}: {record.path} was inspected by another model than {source}; give "
                    "the bundle that was in use"
                )
            if record.skipped:
                continue
            verdict = record.verdict.value if record.verdict else _UNJUDGED
            verdicts.setdefault(record.product or "", Counter())[verdict] += 1
            if record.verdict is Verdict.PASS and record.product and record.score is not None:
                passed.setdefault(record.product, []).append(record)
    return passed, verdicts


def _watch(
    c: ClassCalibration, figure: str, records: Sequence[Record], false_alarm_rate: float
) -> Watch:
    # Only parts that pass are compared, so of calibration's only those that would have passed.
    # The threshold is itself one of its scores and not a random draw: it is excluded.
    passing = c.scores < c.review.value
    limit = c.review.value
    usable = [r for r in records if r.quality and r.score is not None and r.score <= limit]
    if figure == "score":
        before, values = c.scores[passing], np.asarray([r.score for r in usable], dtype=float)
    else:
        before = (c.sharpness if figure == "sharpness" else c.brightness)[passing]
        values = np.asarray([getattr(r.quality, figure) for r in usable], dtype=float)
    evidence = drift_evidence(before, values)
    alarm = first_alarm(evidence, false_alarm_rate)
    recent = values[-max(len(before), 20) :]
    shift = 0.0
    if len(values) and len(before):
        shift = float(np.median(recent) - np.median(before)) / max(float(before.std()), 1e-9)
    if alarm is None:
        return Watch(len(values), evidence, None, None, shift)
    return Watch(len(values), evidence, alarm + 1, usable[alarm].path, shift)


def _draw(report: DriftReport, path: Path) -> None:
    from matplotlib.figure import Figure  # a second, for which those without a plot need not wait
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 1.2 + 1.5 * len(report.classes)), layout="constrained")
    rows = figure.subplots(len(report.classes), 1, squeeze=False)[:, 0]
    for axes, (name, watches) in zip(rows, report.classes.items(), strict=True):
        for label, watch in watches.items():
            axes.plot(np.arange(1, watch.parts + 1), watch.evidence, label=label)
        axes.axhline(report.level, color="black", linestyle="--", linewidth=1)
        axes.set_title(printable(name), loc="left", fontsize=9, parse_math=False)
        axes.set_ylabel("log evidence")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].legend(frameon=False, fontsize=8, ncols=len(WATCHED))
    rows[-1].set_xlabel("passed parts since calibration (dashed: alarm)")
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("png", "svg"):
        raise ConfigError(f"--plot: expected a .png or .svg file, got {path}; choose one of these")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=120)
