"""The report of a run on a data set: what was found, examples, metrics, and new parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mambaad.config import TrainConfig
from mambaad.files import write_text
from mambaad.inspection.inspector import Inspected, Inspector
from mambaad.recipes import SYSTEMS
from mambaad.report.pictures import shot_inside
from mambaad.report.run_rendering import Example, Report, Scores, html_report
from mambaad.report.words import FALSE_ALARM, MISSED, how_sure, image_shape, outcome, what, where

_GOOD, _DEFECTIVE = 2, 7  # examples of each class
_MISTAKES = 12  # shown of each kind
_SIDE = 384  # of each picture, in pixels


class RunPage:
    """Collects examples while a run is evaluated, and writes the page.

    The examples are the first good parts and the first part of each defect type; they are never
    chosen by their scores. Mistakes are collected beside them.

    Args:
        inspector: a calibrated one.
    """

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._good: dict[str, list[Example]] = {}
        self._defective: dict[str, dict[str, Example]] = {}
        self._mistakes: dict[str, list[Example]] = {MISSED: [], FALSE_ALARM: []}
        self._counts = {MISSED: 0, FALSE_ALARM: 0}

    def add(self, inspected: Inspected) -> None:
        """Add a test image; it becomes an example if one of its kind is still missing."""
        sample, prediction = inspected.observed.item.sample, inspected.prediction
        if sample is None or prediction is None:
            return
        worth = outcome(prediction.verdict, sample.is_defective)
        good = self._good.setdefault(sample.class_name, [])
        defective = self._defective.setdefault(sample.class_name, {})
        defect = sample.defect_type
        is_example = (
            defect not in defective and len(defective) < _DEFECTIVE
            if sample.is_defective
            else len(good) < _GOOD
        )
        if worth in self._counts:
            self._counts[worth] += 1
        is_mistake = worth in self._counts and self._counts[worth] <= _MISTAKES
        if not (is_example or is_mistake):
            return
        name = f"{sample.class_name}/{defect}/{sample.path.name}"
        example = example_of(self._inspector, inspected, name, defect)
        if is_mistake:
            self._mistakes[worth].append(example)
        if is_example and sample.is_defective:
            defective[defect] = example
        elif is_example:
            good.append(example)

    def write(
        self,
        path: Path,
        title: str,
        *,
        lead: str,
        log: Sequence[Mapping[str, Any]],
        protocol: str,
        metrics: Sequence[Sequence[str]],
        scores: Mapping[str, Sequence[tuple[float, bool]]],
        found: Sequence[Sequence[str]],
        **more: Any,
    ) -> None:
        """Write the page, whole or not at all.

        Args:
            path: the HTML file.
            title: heading of the page.
            lead: what came out, in a sentence.
            log: a record for each epoch of the training; empty for an imported run.
            protocol: name of the metrics' protocol, and where pixels are compared.
            metrics: a header row and a row for each class, as text.
            scores: by class, each test image's score and whether it is defective.
            found: a header row and a row for each class, of defects found and missed.
            more: further fields of :class:`mambaad.report.run_rendering.Report`.

        Raises:
            RunError: the file cannot be written.
        """
        config = self._inspector.config
        minutes = sum(epoch["seconds"] for epoch in log) / 60
        facts = {
            "Products": ", ".join(scores),
            "Test images": str(sum(map(len, scores.values()))),
            "Model": f"{model_name(config)}, encoder {config.encoder}",
            "Training": f"{len(log)} epochs, {minutes:.1f} min" if log else "imported",
            **({"Left out": f"{len(config.exclude)} training images"} if config.exclude else {}),
            "Image size": " x ".join(map(str, config.size)),
        }
        report = Report(
            title,
            lead,
            facts,
            metrics,
            protocol,
            [epoch["loss"] for epoch in log],
            {name: self._scores(name, pairs) for name, pairs in scores.items()},
            {
                name: [*self._good.get(name, []), *self._defective.get(name, {}).values()]
                for name in scores
            },
            found,
            mistakes=[*self._mistakes[MISSED], *self._mistakes[FALSE_ALARM]],
            mistakes_count=sum(self._counts.values()),
        )
        write_text(path, html_report(replace(report, **more)))

    def _scores(self, name: str, pairs: Sequence[tuple[float, bool]]) -> Scores:
        found = Scores([s for s, bad in pairs if not bad], [s for s, bad in pairs if bad])
        calibration = self._inspector.calibration
        c = calibration.classes.get(name) if calibration else None
        return replace(found, review=c.review.value, fail=c.fail.value) if c else found


def example_of(
    inspector: Inspector,
    inspected: Inspected,
    name: str,
    label: str,
    is_defective: bool | None = None,
) -> Example:
    """Make the example of an image that was inspected without an error.

    Args:
        inspector: that inspected it.
        inspected: the image.
        name: it is shown by.
        label: what the part is.
        is_defective: whether it is; by default as its data set says, or good without one.
    """
    observed, prediction = inspected.observed, inspected.prediction
    sample, pixels = observed.item.sample, observed.pixels
    assert prediction is not None
    assert pixels is not None
    if is_defective is None:
        is_defective = bool(sample and sample.is_defective)
    bounds = inspector.range_of(prediction)
    severity = (prediction.score - bounds[0]) / ((bounds[1] - bounds[0]) / 2)
    calibration = inspector.calibration
    c = calibration.classes.get(prediction.product or "") if calibration else None
    return Example(
        name,
        shot_inside(
            pixels,
            prediction.anomaly_map,
            bounds,
            found=prediction.region_mask,
            true=observed.mask,
            side=_SIDE,
        ),
        label,
        is_defective,
        prediction.score,
        prediction.verdict.value if prediction.verdict else "",
        what(prediction),
        where(prediction.regions, image_shape(prediction, (pixels.shape[0], pixels.shape[1]))),
        how_sure(prediction, severity, len(c.scores)) if c else "",
        outcome(prediction.verdict, is_defective),
    )


def model_name(config: TrainConfig) -> str:
    """Name the system of a run's settings, with the size of its decoder."""
    name = SYSTEMS[config.system].title
    return f"{name}, {config.variant} decoder" if config.system == "mambaad" else name
