"""The HTML report of a run on a data set: its metrics, its scores, and parts to look at."""

from __future__ import annotations

from pathlib import Path

from mambaad.artifacts.run_folder import read_config, read_log
from mambaad.config import TrainConfig
from mambaad.data.images import read_image, read_mask
from mambaad.data.layouts import read_data
from mambaad.files import write_text
from mambaad.inspection.inspector import Inspector
from mambaad.report.overlay import heatmap_overlay
from mambaad.report.run_html import Example, Report, Scores, html_report
from mambaad.systems import system_class
from mambaad.types import ProductClass, Sample
from mambaad.workflows.evaluate import Evaluation

_GOOD, _DEFECTIVE = 2, 7  # examples of each class


def write_run_report(
    path: Path, run: Path, data: Path, evaluation: Evaluation, title: str = "Inspection report"
) -> None:
    """Write the report of a finished run, whole or not at all.

    Args:
        path: the HTML file.
        run: the folder that training made.
        data: the data set that ``evaluation`` is of.
        evaluation: what :func:`mambaad.evaluate` returned.
        title: its heading.

    Raises:
        DataError, RunError: a folder that cannot be read, or a file that cannot be written.
    """
    inspector = Inspector(run, evaluation.precision)
    log, config = read_log(run), read_config(run)
    classes = read_data(data, list(evaluation.classes), split="test", layout=config.layout)
    images = sum(len(scores) for scores in evaluation.scores.values())
    facts = {
        "Products": ", ".join(evaluation.classes),
        "Test images": str(images),
        "Model": f"{_model_name(config)}, encoder {config.encoder}",
        "Training": f"{len(log)} epochs, {sum(e['seconds'] for e in log) / 60:.1f} min"
        if log
        else "imported",
        "Image size": " x ".join(map(str, evaluation.size)),
        "Protocol": evaluation.protocol,
    }
    report = Report(
        title,
        facts,
        evaluation.to_rows(),
        [epoch["loss"] for epoch in log],
        {
            name: Scores([s for s, bad in pairs if not bad], [s for s, bad in pairs if bad])
            for name, pairs in evaluation.scores.items()
        },
        {c.name: [_example(inspector, sample) for sample in _chosen(c)] for c in classes},
    )
    write_text(path, html_report(report))


def _model_name(config: TrainConfig) -> str:
    name: str = system_class(config.system).__name__
    return f"{name}, {config.variant} decoder" if config.system == "mambaad" else name


def _chosen(c: ProductClass) -> list[Sample]:
    """The first good parts, and the first of each kind of defect; never chosen by their scores."""
    good = [sample for sample in c.test if not sample.is_defective]
    kinds: dict[str, Sample] = {}
    for sample in c.test:
        if sample.is_defective:
            kinds.setdefault(sample.defect_type, sample)
    return [*good[:_GOOD], *list(kinds.values())[:_DEFECTIVE]]


def _example(inspector: Inspector, sample: Sample) -> Example:
    image = read_image(sample.path)
    prediction = inspector.inspect(image, sample.class_name)
    return Example(
        f"{sample.defect_type}/{sample.path.name}",
        image,
        heatmap_overlay(image, prediction.anomaly_map, inspector.scale),
        read_mask(sample.mask_path) if sample.mask_path else None,
        sample.is_defective,
        prediction.score,
    )
