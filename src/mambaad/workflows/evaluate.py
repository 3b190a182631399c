"""Evaluation of a run on a data set's test images, class by class."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import torch

from mambaad.data.checks import check_images
from mambaad.data.images import read_mask
from mambaad.data.layouts import class_names, read_data
from mambaad.data.read_ahead import load_batches, readers
from mambaad.data.transforms import Preprocess, resize_mask_bilinear, resize_mask_nearest
from mambaad.errors import ConfigError, DataError
from mambaad.inference.packed.pack import Precision
from mambaad.inspection.inspector import Inspector, Scored
from mambaad.metrics import (
    METRICS,
    PROTOCOLS,
    ClassMetrics,
    MetricValues,
    Protocol,
    image_metrics,
    mean_over_classes,
)
from mambaad.progress import ProgressBar, say
from mambaad.types import ProductClass

_BATCH = 8

HEADINGS = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1_max": "I-F1",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1_max": "P-F1",
    "pixel_aupro": "AU-PRO",
    "mad": "mAD",
}


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a run, each in [0, 1] or None where it is not defined.

    ``pooled``: the image metrics of all classes' scores together, with no mean over classes.
    ``scores``: by class, each test image's score and whether it is defective.
    ``precision``: that of the model's products. ``model_seconds``, ``metric_seconds``: time spent
    on the images and on the metrics.
    """

    protocol: Protocol
    precision: Precision
    size: tuple[int, int]
    classes: dict[str, MetricValues]
    mean: MetricValues
    pooled: MetricValues
    scores: dict[str, list[tuple[float, bool]]]
    model_seconds: float
    metric_seconds: float

    def to_json(self) -> str:
        """The figures as JSON text."""
        return (
            json.dumps(
                {
                    "protocol": self.protocol,
                    "precision": self.precision,
                    "size": list(self.size),
                    "crop": None,
                    "classes": self.classes,
                    "mean": self.mean,
                    "pooled": self.pooled,
                },
                indent=2,
            )
            + "\n"
        )

    def to_rows(self) -> list[list[str]]:
        """A heading, and a row for each class, the mean and all classes pooled, in per cent."""
        rows = [["class", *(HEADINGS[m] for m in METRICS)]]
        for name, values in {**self.classes, "mean": self.mean, "pooled": self.pooled}.items():
            shown = (values.get(m) for m in METRICS)
            rows.append([name, *("-" if v is None else f"{100 * v:.1f}" for v in shown)])
        return rows

    def to_csv(self) -> str:
        """The figures as CSV text, a row for each class and one for the mean."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *METRICS, "protocol", "size", "crop"])
        size = "x".join(map(str, self.size))
        for name, values in {**self.classes, "mean": self.mean}.items():
            numbers = ["" if (v := values[m]) is None else f"{v:.6f}" for m in METRICS]
            writer.writerow([name, *numbers, self.protocol, size, "none"])
        return text.getvalue()


def evaluate(
    run: str | Path,
    data: str | Path,
    *,
    protocol: Protocol = "exact",
    precision: Precision = "float32",
    device: str = "cpu",
    skip_unreadable: bool = False,
) -> Evaluation:
    """Compute the metrics of a run on the test images of its classes.

    Args:
        run: the folder that training made, or a bundle.
        data: a folder in any known layout.
        protocol: ``"exact"``, or ``"ader-paper"`` to compare with published numbers.
        precision, device: see :class:`mambaad.Inspector`.
        skip_unreadable: leave unreadable images out instead of stopping.

    Raises:
        ConfigError, DataError, RunError: see there.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got '{protocol}'")
    inspector = Inspector(run, precision, device=device)
    if protocol == "ader-paper" and inspector.size != (256, 256):
        size = " x ".join(map(str, inspector.size))
        say(f"ader-paper is defined at 256 x 256: no published figure is comparable at {size}")
    classes = _test_classes(inspector, Path(data), skip_unreadable, inspector.config.layout)
    return evaluate_scorer(inspector, classes, protocol, precision)


class Scorer(Interface):
    """What is evaluated: an :class:`mambaad.Inspector`, or another system like one."""

    size: tuple[int, int]
    preprocess: Preprocess
    device: torch.device

    def score(self, images: torch.Tensor) -> Scored:
        """Maps and scores of preprocessed images, b x 3 x h x w."""


def evaluate_scorer(
    scorer: Scorer,
    classes: Sequence[ProductClass],
    protocol: Protocol,
    precision: Precision = "float32",
) -> Evaluation:
    """Compute the metrics of whatever scores images, on the test images of some classes."""
    total = sum(len(c.test) for c in classes)
    done, metric_seconds, started = 0, 0.0, time.perf_counter()
    values: dict[str, MetricValues] = {}
    scores: dict[str, list[tuple[float, bool]]] = {}
    with ProgressBar("evaluating") as bar:
        for c in classes:
            metrics = ClassMetrics(protocol, c.has_masks)
            for batch in load_batches(
                c.test, scorer.preprocess, _BATCH, workers=readers(scorer.device)
            ):
                maps, batch_scores = scorer.score(batch.images)
                for sample, anomaly_map, score in zip(
                    batch.samples, maps, batch_scores, strict=True
                ):
                    mask = None
                    if sample.mask_path is not None:
                        resize = (
                            resize_mask_nearest if protocol == "exact" else resize_mask_bilinear
                        )
                        mask = resize(read_mask(sample.mask_path), *scorer.size)
                    metrics.update(anomaly_map, float(score), sample.is_defective, mask)
                done += len(batch.samples)
                bar.update(done, total, c.name)
            before = time.perf_counter()
            values[c.name] = metrics.compute()
            metric_seconds += time.perf_counter() - before
            scores[c.name] = list(zip(metrics.scores, metrics.labels, strict=True))
    pooled = [pair for pairs in scores.values() for pair in pairs]
    return Evaluation(
        protocol,
        precision,
        scorer.size,
        values,
        mean_over_classes(list(values.values())),
        image_metrics([score for score, _ in pooled], [label for _, label in pooled]),
        scores,
        time.perf_counter() - started - metric_seconds,
        metric_seconds,
    )


def _test_classes(
    inspector: Inspector, data: Path, skip_unreadable: bool, layout: str | None
) -> list[ProductClass]:
    wanted = None
    if inspector.products and data.is_dir():
        there = class_names(data, split="test", layout=layout)
        wanted = [name for name in there if name in inspector.products]
        if there and not wanted:
            raise DataError(
                f"{data} has none of the classes that the model was trained on, "
                f"{', '.join(inspector.products)}; give their test images"
            )
        for name in there:
            if name not in wanted:
                say(f"{name}: left out, the model was not trained on it")
        for name in inspector.products:
            if there and name not in there:
                say(f"{name}: not in {data}, and so not in the mean")
    known = read_data(data, wanted or None, split="test", layout=layout)
    with ProgressBar("reading images") as bar:
        classes, skipped = check_images(known, skip_unreadable=skip_unreadable, progress=bar.update)
    for problem in skipped:
        say(f"left out: {problem}")
    tested = [c for c in classes if c.test]
    for c in classes:
        if not c.test:
            say(f"{c.name}: left out, it has no test images")
    if not tested:
        raise DataError(f"{data} has no test images; see docs/datasets.md")
    return tested
