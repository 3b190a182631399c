"""``mambaad evaluate``: metrics of a run on a data set's test images, class by class."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from mambaad.artifacts.export_folder import ExportPrecision
from mambaad.data.checks import check_masks
from mambaad.data.layouts import class_names, find_layout
from mambaad.data.parts import PartSequence, as_source
from mambaad.errors import ConfigError, DataError
from mambaad.files import locked
from mambaad.inference.compute import Compilation, Precision
from mambaad.inference.engine import Engine
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import Item, Observed, observe_stream, readable
from mambaad.metrics.names import (
    HEADINGS,
    METRICS,
    PROTOCOLS,
    At,
    MetricValues,
    Protocol,
    check_place,
)
from mambaad.metrics.protocols import ClassMetrics, image_metrics, mean_over_classes
from mambaad.progress import ProgressBar, say, warn
from mambaad.types import ProductClass
from mambaad.workflows.csv_text import csv_text
from mambaad.workflows.data_figures import DataFigures, Values, figures_for
from mambaad.workflows.evaluation_notes import ClassRemarks, all_notes
from mambaad.workflows.pixel_pairs import pixel_pair
from mambaad.workflows.tested_classes import tested_classes
from mambaad.workflows.verdicts import VerdictEvaluation, VerdictMeasurement, check_calibrated


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run, each in [0, 1], or None where undefined.

    Attributes:
        protocol: of the metrics.
        precision: of the model's matrix products.
        size: height and width of the anomaly maps, in pixels.
        at: where pixels were compared: at the size of the maps, or of the masks.
        classes: each class's metrics.
        mean: their means over the classes.
        pooled: the image metrics of all classes' scores taken together, not averaged by class.
        scores: by class, each test image's score and whether it is defective.
        model_seconds: time spent on the images.
        metric_seconds: time spent on the metrics.
        reasons: by class, why figures are None; classes without such figures are absent.
        notes: lines on what a reader of the figures should know.
        verdicts: the accuracy of verdicts, if requested.
        further: by class, the figures that the data set has of its own
            (:mod:`mambaad.workflows.data_figures`); empty if it has none.
        further_notes: lines on what a reader of these should know.
    """

    protocol: Protocol
    precision: ExportPrecision
    size: tuple[int, int]
    classes: dict[str, MetricValues]
    mean: MetricValues
    pooled: MetricValues
    scores: dict[str, list[tuple[float, bool]]]
    model_seconds: float
    metric_seconds: float
    at: At = "map"
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verdicts: VerdictEvaluation | None = None
    further: dict[str, Values] = field(default_factory=dict)
    further_notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Format the metrics as JSON."""
        return (
            json.dumps(
                {
                    "protocol": self.protocol,
                    "precision": self.precision,
                    "size": list(self.size),
                    "at": self.at,
                    "crop": None,
                    "classes": self.classes,
                    "mean": self.mean,
                    "pooled": self.pooled,
                    "reasons": self.reasons,
                    "notes": self.notes,
                    **(
                        {"further": self.further, "further_notes": self.further_notes}
                        if self.further
                        else {}
                    ),
                },
                indent=2,
            )
            + "\n"
        )

    def to_rows(self) -> list[list[str]]:
        """Make a heading and a row per class, for the mean and for pooled scores, in per cent.

        If figures of a class are missing, a last column says why.
        """
        rows = [["class", *(HEADINGS[m] for m in METRICS)]]
        # A class may be called "mean" too.
        for name, values in [*self.classes.items(), ("mean", self.mean), ("pooled", self.pooled)]:
            shown = (values.get(m) for m in METRICS)
            rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
        if self.reasons:
            reasons = {**self.reasons, "pooled": "image scores only"}
            rows = [[*rows[0], "missing"], *([*r, reasons.get(r[0], "")] for r in rows[1:])]
        return rows

    def to_csv(self) -> str:
        """Format the metrics as CSV, with a row per class and one for the mean."""
        rows = [["class", *METRICS, "protocol", "size", "crop", "at"]]
        size = "x".join(map(str, self.size))
        for name, values in [*self.classes.items(), ("mean", self.mean)]:
            numbers = ["" if (v := values[m]) is None else f"{v:.6f}" for m in METRICS]
            rows.append([name, *numbers, self.protocol, size, "none", self.at])
        return csv_text(rows)


def evaluate(
    run: str | Path | Inspector,
    data: str | Path | PartSequence,
    *,
    protocol: Protocol = "exact",
    at: At = "map",
    precision: Precision = "float32",
    device: str = "auto",
    compile: Compilation = "auto",
    skip_unreadable: bool = False,
    verdicts: bool = False,
    report: str | Path | None = None,
    max_pixels: int | None = None,
    records: str | Path | None = None,
    tiles: str | tuple[int, int] | None = None,
    sinks: Sequence[Callable[[Observed], None]] = (),
) -> Evaluation:
    """Compute the metrics of a run on the test images of its classes.

    Args:
        run: a run folder or a bundle; or an inspector, whose own precision and device apply.
        data: a folder in any known layout, or a sequence of :class:`mambaad.Part`, good and
            defective; classes that the model was not trained on are skipped.
        protocol: ``"exact"``, or ``"ader-paper"`` to compare with published numbers.
        at: ``"map"``: masks are resized to the anomaly map, and a region that has no pixel left
            gets one; ``"mask"``: maps are resized to the masks (protocol ``"exact"`` only).
        precision, device, compile: see :class:`mambaad.Inspector`.
        skip_unreadable: skip unreadable images instead of stopping.
        verdicts: also measure how often verdicts are right; needs a calibrated model.
        report: a folder for a page that shows all images, judged with their product given, and
            explains the flagged ones; needs a calibrated model.
        max_pixels: images with more are refused; by default as in training.
        records: what ``mambaad inspect`` has written of these images with this model: its scores
            and maps are taken, and no image is inspected; gives no verdicts and no page.
        tiles: of large images, see :class:`mambaad.Inspector`.
        sinks: called with each observed image, in order.

    Raises:
        ConfigError: an unknown protocol, precision or device.
        DataError: no test images of the model's classes, or one that cannot be read.
        RunError: a missing or damaged run, no calibration for the verdicts or the page, or a page's
            folder that another process writes to.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got '{protocol}'")
    check_place(at, protocol)
    if records is not None and (verdicts or report is not None):
        raise ConfigError("--records gives no --verdicts and no --report; inspect with --report")
    if records is not None and tiles is not None:
        raise ConfigError("--records has maps of whole images; omit --tiles")
    source = as_source(data)
    if records is not None and not isinstance(source, Path):
        raise ConfigError("--records is for data sets in folders; omit it")
    if isinstance(source, Path) and not source.is_dir():
        class_names(source, split="test")  # raises, before a model is loaded
    if isinstance(run, Inspector):
        inspector = run
    else:
        inspector = Inspector(
            run,
            precision,
            device=device,
            compile=compile,
            keep_trained=report is not None,
            max_pixels=max_pixels,
            tiles=tiles,
        )
    needs_verdicts = verdicts or report is not None
    calibration = check_calibrated(inspector) if needs_verdicts else None
    if protocol == "ader-paper" and inspector.size != (256, 256):
        size = " x ".join(map(str, inspector.size))
        say(f"ader-paper is defined at 256 x 256: no published result is comparable at {size}")
    classes = tested_classes(inspector, source, skip_unreadable)
    figures = None
    if isinstance(source, Path):
        layout = find_layout(source, inspector.config.layout).name
        figures = figures_for(layout, inspector, source, at)
    sinks = [*sinks, *([figures.add] if figures else [])]
    observe = None
    if records is not None:
        from mambaad.workflows.evaluate_records import Recorded  # needs pyarrow

        observe = Recorded(str(records), inspector, classes).observe
    measure = functools.partial(
        evaluate_engine,
        inspector.engine,
        classes,
        protocol,
        inspector.precision,
        at=at,
        skip_unreadable=skip_unreadable,
        observe=observe,
    )
    if calibration is None:
        return _with_further(measure(sinks=sinks), figures)
    measurement = VerdictMeasurement(inspector, calibration, classes, at)
    with locked(Path(report), make=True) if report is not None else nullcontext():
        page = None
        if report is not None:
            from mambaad.report.inspection_page import InspectionPage  # imports PyTorch

            good = source if isinstance(source, Path) else None
            page = InspectionPage(Path(report), inspector, good)

        def judge(observed: Observed) -> None:
            judged = measurement.add(observed)
            if page:
                page.add(judged)

        evaluation = measure(sinks=[judge, *sinks])
        verdict_evaluation = measurement.compute()
        if page:
            facts = {
                "Model": Path(inspector.source).name,
                "Data": source.name if isinstance(source, Path) else str(source),
                "Products": ", ".join(evaluation.classes),
                "Thresholds": f"calibrated ({calibration.method})",
            }
            page.write(
                "Inspection of test images",
                facts,
                {"What was found": verdict_evaluation.plain_rows()},
                lead=verdict_evaluation.lead(),
                warnings=verdict_evaluation.warnings(),
            )
    return _with_further(replace(evaluation, verdicts=verdict_evaluation), figures)


def _with_further(evaluation: Evaluation, figures: DataFigures | None) -> Evaluation:
    """Add the data set's own figures, if it has any."""
    if figures is None:
        return evaluation
    notes = tuple(figures.notes())
    return replace(evaluation, further=figures.values(), further_notes=notes)


def evaluate_engine(
    engine: Engine,
    classes: Sequence[ProductClass],
    protocol: Protocol,
    precision: ExportPrecision = "float32",
    *,
    at: At = "map",
    skip_unreadable: bool = False,
    observe: Callable[[Sequence[Item]], Iterable[Observed]] | None = None,
    sinks: Sequence[Callable[[Observed], None]] = (),
) -> Evaluation:
    """Compute the metrics of any engine, in one pass over the test images of the classes.

    Args:
        engine: of this project or another system's.
        classes: classes with test images.
        protocol: of the metrics.
        precision: recorded in the result; the engine has its own.
        at: where pixels are compared, see :func:`evaluate`.
        skip_unreadable: skip unreadable images instead of stopping.
        observe: gives the observations that the engine made of images before.
        sinks: called with each observed image, in order.

    Raises:
        DataError: an image that cannot be read, or a defective one that lacks a mask where others
            of its class have one.
    """
    check_masks(classes)
    started, sink_seconds = time.perf_counter(), 0.0
    metrics = _ClassByClass(protocol, at)
    items = [Item.of(sample) for c in classes for sample in c.test]
    has_masks = {c.name: c.has_masks for c in classes}
    with ProgressBar("evaluating") as bar:
        if observe is None:
            stream: Iterable[Observed] = observe_stream(engine, items, batch_size=engine.batch_size)
        else:
            stream = observe(items)
        observed = readable(stream, classes, skip_unreadable)
        for done, image in enumerate(observed, start=1):
            name = metrics.add(image, has_masks)
            before = time.perf_counter()
            for sink in sinks:
                sink(image)
            sink_seconds += time.perf_counter() - before
            bar.update(done, len(items), name)
        metrics.close()
    if not metrics.values:
        raise DataError("none of the test images can be read; repair or replace them")
    for c in classes:
        if c.name not in metrics.values:
            warn(f"{c.name}: left out, none of its test images can be read")
    pooled = [pair for pairs in metrics.scores.values() for pair in pairs]
    return Evaluation(
        protocol,
        precision,
        engine.size,
        metrics.values,
        mean_over_classes(list(metrics.values.values())),
        image_metrics([score for score, _ in pooled], [label for _, label in pooled]),
        metrics.scores,
        time.perf_counter() - started - metrics.seconds - sink_seconds,
        metrics.seconds,
        at,
        {
            name: reason
            for name, remarks in metrics.remarks.items()
            if (reason := remarks.reason(metrics.values[name], has_masks[name]))
        },
        all_notes(metrics.remarks, metrics.values, protocol, engine.size),
    )


class _ClassByClass:
    """Metrics of images that arrive class by class, so that one class's pixels are held."""

    def __init__(self, protocol: Protocol, at: At) -> None:
        self.values: dict[str, MetricValues] = {}
        self.scores: dict[str, list[tuple[float, bool]]] = {}
        self.seconds = 0.0
        self.remarks: dict[str, ClassRemarks] = {}
        self._at: At = at
        self._protocol = protocol
        self._name = ""
        self._metrics: ClassMetrics | None = None

    def add(self, image: Observed, has_masks: dict[str, bool]) -> str:
        """Add an image, and return the name of its class."""
        sample = image.item.sample
        assert sample is not None  # evaluation takes data sets only
        if self._metrics is None or sample.class_name != self._name:
            self.close()
            self._name = sample.class_name
            self._metrics = ClassMetrics(self._protocol, has_masks[self._name])
            self.remarks[self._name] = ClassRemarks()
        observation, _ = image.result
        before = time.perf_counter()
        pair = pixel_pair(image, observation.anomaly_map, self._protocol, self._at)
        self.seconds += time.perf_counter() - before
        self._metrics.update(pair.anomaly_map, observation.score, sample.is_defective, pair.mask)
        self.remarks[self._name].add(image, pair)
        return self._name

    def close(self) -> None:
        """Compute the metrics of the current class."""
        if self._metrics is None:
            return
        before = time.perf_counter()
        self.values[self._name] = self._metrics.compute()
        self.seconds += time.perf_counter() - before
        self.scores[self._name] = list(zip(self._metrics.scores, self._metrics.labels, strict=True))
        self._metrics = None
