"""How often verdicts are right, on a data set's test images: false alarms and recall.

Three settings: the product of each image is told; it is inferred; or there is one decision for all
classes pooled, without labels ("absolute-unified").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mambaad.data.checks import check_images
from mambaad.data.images import read_image, read_mask
from mambaad.data.layouts import class_names, read_data
from mambaad.data.read_ahead import read_ahead
from mambaad.data.transforms import resize_mask_nearest
from mambaad.errors import DataError, RunError
from mambaad.inference.packed.pack import Precision
from mambaad.inspection.calibration import Calibration, ClassCalibration, inspected_map
from mambaad.inspection.decision import decide, nearest_product
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.records import record_of
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.metrics import METRICS, ClassMetrics, MetricValues
from mambaad.progress import ProgressBar, say
from mambaad.report.inspection_page import InspectionReport
from mambaad.types import ProductClass, Sample, Verdict

SCALES = ("raw", "inferred product", "true product")
"""How scores of several classes are made comparable, for one decision over all of them."""


@dataclass
class VerdictCounts:
    """Verdicts on good and on defective parts, and how many products were named right."""

    good: Counter[Verdict] = field(default_factory=Counter)
    defective: Counter[Verdict] = field(default_factory=Counter)
    named_right: int = 0

    def add(self, verdict: Verdict, is_defective: bool, named_right: bool) -> None:
        """Count one image."""
        (self.defective if is_defective else self.good)[verdict] += 1
        self.named_right += named_right


@dataclass(frozen=True)
class Unified:
    """All classes' images as one: metrics of their pooled scores, and one threshold for all.

    ``false_alarms``: share of good parts above it, of all, and of the class with most;
    ``recall``: share of defective parts above it.
    """

    metrics: MetricValues
    false_alarms: float
    worst_class: float
    recall: float


@dataclass(frozen=True)
class VerdictEvaluation:
    """Counts by class with the product told and with it inferred; and the unified figures."""

    told: Mapping[str, VerdictCounts]
    inferred: Mapping[str, VerdictCounts]
    unified: Mapping[str, Unified]

    def to_rows(self, which: Mapping[str, VerdictCounts]) -> list[list[str]]:
        """A heading, and a row for each class and for all, in per cent of its parts."""
        rows = [
            ["class", "good", "FAIL", "REVIEW", "other", "bad", "FAIL", "REVIEW", "other", "named"]
        ]
        total = VerdictCounts()
        for counts in which.values():
            total.good += counts.good
            total.defective += counts.defective
            total.named_right += counts.named_right
        for name, counts in {**which, "all": total}.items():
            row = [name]
            for some in (counts.good, counts.defective):
                number = sum(some.values())
                other = some[Verdict.UNKNOWN_PRODUCT] + some[Verdict.BAD_IMAGE]
                shown = (some[Verdict.FAIL], some[Verdict.REVIEW], other)
                row += [str(number), *(_share(count, number) for count in shown)]
            images = sum(counts.good.values()) + sum(counts.defective.values())
            rows.append([*row, _share(counts.named_right, images)])
        return rows

    def unified_rows(self) -> list[list[str]]:
        """A heading, and a row for each way of scaling, in per cent."""
        rows = [
            [
                "scores scaled by",
                *("I-AUROC", "I-AP", "I-F1", "P-AUROC", "P-AP", "P-F1", "AU-PRO"),
                *("false alarms", "worst class", "recall"),
            ]
        ]
        for name, u in self.unified.items():
            values = [u.metrics.get(metric) for metric in METRICS[:-1]]
            values += [u.false_alarms, u.worst_class, u.recall]
            rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in values)])
        return rows


def calibrated(
    run: str | Path, precision: Precision = "float32", device: str = "cpu"
) -> tuple[Inspector, Calibration]:
    """An inspector that gives verdicts, and what they are based on.

    Raises:
        RunError: the run or bundle has no calibration, or one of another precision.
    """
    inspector = Inspector(run, precision, device=device)
    if inspector.calibration is None:
        raise RunError(f"{run} has no calibration for {precision}; run mambaad calibrate first")
    return inspector, inspector.calibration


def evaluate_verdicts(
    run: str | Path,
    data: str | Path,
    *,
    precision: Precision = "float32",
    device: str = "cpu",
    report: str | Path | None = None,
    skip_unreadable: bool = False,
) -> VerdictEvaluation:
    """Judge the test images of a data set.

    Args:
        run: a calibrated run, or a bundle of one.
        data: a folder in any known layout; its classes that the model does not know are left out.
        precision: that it was calibrated with.
        device: see :class:`mambaad.Inspector`.
        report: a folder for a page with all images, their products told, and why flagged ones were
            flagged.
        skip_unreadable: leave unreadable images out instead of stopping.

    Raises:
        RunError: no calibration.
        DataError: no test images of the model's classes, or one that cannot be read.
    """
    inspector, calibration = calibrated(run, precision, device)
    layout = inspector.config.layout
    known = [
        name
        for name in class_names(Path(data), split="test", layout=layout)
        if name in calibration.classes
    ]
    with ProgressBar("reading images") as bar:
        found, skipped = check_images(
            read_data(Path(data), known, split="test", layout=layout),
            skip_unreadable=skip_unreadable,
            progress=bar.update,
        )
    for problem in skipped:
        say(f"left out: {problem}")
    classes = [c for c in found if c.test]
    if not known or not classes:
        raise DataError(
            f"{data} has no test images of {', '.join(calibration.classes)}; give theirs"
        )
    page = InspectionReport(Path(report), Path(run), inspector, Path(data)) if report else None
    evaluation = _judge(inspector, calibration, classes, page)
    if page:
        facts = {
            "Model": Path(run).name,
            "Data": Path(data).name,
            "Products": ", ".join(c.name for c in classes),
            "Thresholds": f"calibrated ({calibration.method})",
        }
        tables = {
            "Verdicts, product told, in per cent of good and of defective parts": (
                evaluation.to_rows(evaluation.told)
            )
        }
        page.write("Inspection of test images", facts, tables)
    return evaluation


def _judge(
    inspector: Inspector,
    calibration: Calibration,
    classes: Sequence[ProductClass],
    page: InspectionReport | None,
) -> VerdictEvaluation:
    products = inspector.products
    told = {c.name: VerdictCounts() for c in classes}
    inferred = {c.name: VerdictCounts() for c in classes}
    has_masks = any(c.has_masks for c in classes)
    pooled = {scale: ClassMetrics("exact", has_masks) for scale in SCALES}
    alarms = {scale: Counter[tuple[str, bool]]() for scale in SCALES}
    limits = _pooled_thresholds(calibration)
    with ProgressBar("inspecting") as bar:
        samples = [sample for c in classes for sample in c.test]
        images = read_ahead(lambda sample: read_image(sample.path), samples)
        for done, (sample, pixels) in enumerate(zip(samples, images, strict=True), start=1):
            look = inspector.look(pixels)
            name, bad = sample.class_name, sample.is_defective
            named = decide(look, products, calibration, None)
            nearest, _ = nearest_product(products, look.distances, calibration)
            judged = decide(look, products, calibration, name)
            for counts, prediction in ((told, judged), (inferred, named)):
                assert prediction.verdict is not None
                counts[name].add(prediction.verdict, bad, named.product == name)
            if page:
                record = record_of(
                    sample.path,
                    judged,
                    product_given=True,
                    model=inspector.weights,
                    defect_type=sample.defect_type,
                )
                page.add(record, pixels, judged)
            mask = _mask(sample, inspector.size)
            inferred_as, true = calibration.classes[nearest or name], calibration.classes[name]
            for scale, c in zip(SCALES, (inferred_as, inferred_as, true), strict=True):
                scaled = look.anomaly_map if scale == "raw" else _scaled(look.anomaly_map, c)
                # Only where the class is inspected, as the scores that the threshold is made of.
                score = float(inspected_map(scaled, c.settings).max())
                pooled[scale].update(scaled, score, bad, mask)
                alarms[scale][name, bad] += score > limits[scale]
            bar.update(done, len(samples), name)
    return VerdictEvaluation(
        told, inferred, {s: _unified(pooled[s], alarms[s], classes) for s in SCALES}
    )


def _scaled(anomaly_map: np.ndarray, c: ClassCalibration) -> np.ndarray:
    """Such that good parts of every class have their median at 0, and FAIL begins at 1."""
    scaled: np.ndarray = (anomaly_map - c.median) / max(c.fail.value - c.median, 1e-6)
    return scaled.astype(np.float32)


def _pooled_thresholds(calibration: Calibration) -> dict[str, float]:
    """One threshold for all classes' scores together, at the rate that FAIL was asked for."""
    classes = list(calibration.classes.values())
    asked = classes[0].fail.asked
    raw = np.concatenate([c.scores for c in classes])
    scaled = np.concatenate([_scaled(c.scores, c) for c in classes])
    by_product = conformal_threshold(scaled, asked).value
    return dict(
        zip(SCALES, (conformal_threshold(raw, asked).value, by_product, by_product), strict=True)
    )


def _unified(
    metrics: ClassMetrics, alarms: Counter[tuple[str, bool]], classes: Sequence[ProductClass]
) -> Unified:
    counts = Counter((c.name, s.is_defective) for c in classes for s in c.test)

    def share(wanted: Iterator[tuple[str, bool]]) -> float:
        keys = list(wanted)
        of = sum(counts[key] for key in keys)
        return sum(alarms[key] for key in keys) / of if of else float("nan")

    names = [c.name for c in classes]
    return Unified(
        metrics.compute(),
        share((name, False) for name in names),
        max((share(iter([(n, False)])) for n in names if counts[n, False]), default=float("nan")),
        share((name, True) for name in names),
    )


def _mask(sample: Sample, size: tuple[int, int]) -> np.ndarray | None:
    if sample.mask_path is None:
        return None
    return resize_mask_nearest(read_mask(sample.mask_path), *size)


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}" if of else "-"
