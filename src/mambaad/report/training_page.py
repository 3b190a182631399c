"""The page of a training: ``run.html`` in the run folder, for people who watch or look back.

It is made of what the run holds, and nothing reads it: it is no file of a generation
(``artifacts/manifest.py``), may be deleted, and says nothing that the run does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mambaad.artifacts.manifest import PAGE
from mambaad.artifacts.run_folder import (
    is_finished,
    read_config,
    read_data_summary,
    read_log,
    read_version,
    training_seconds,
)
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.config import TrainConfig
from mambaad.files import write_text
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import Item
from mambaad.metrics.names import HEADINGS, METRICS
from mambaad.report.look import templates
from mambaad.report.plots import curve
from mambaad.report.run_page import example_of, model_name
from mambaad.report.run_rendering import Example
from mambaad.types import ProductClass

_EXAMPLES = 3  # of each class
_MOST_CLASSES = 20  # of which examples are shown


def training_examples(
    run: Path, classes: Sequence[ProductClass], device: str = "auto"
) -> dict[str, list[Example]]:
    """Inspect some good parts of each class by a run whose training has ended.

    Args:
        run: the run folder.
        classes: with the parts among their training images, spread over which some are chosen.
        device: see :class:`mambaad.Inspector`.

    Raises:
        RunError: the run cannot be read. Parts that cannot be read are left out.
    """
    classes = [c for c in classes if c.train][:_MOST_CLASSES]
    if not classes:
        return {}
    inspector = Inspector(run, device=device, tiles="off")
    found: dict[str, list[Example]] = {}
    for c in classes:
        samples = c.train[:: max(len(c.train) // _EXAMPLES, 1)][:_EXAMPLES]
        for sample, inspected in zip(
            samples, inspector.inspect_items(map(Item.of, samples)), strict=True
        ):
            if inspected.prediction is not None:
                example = example_of(inspector, inspected, sample.path.name, "good")
                found.setdefault(c.name, []).append(example)
    return found


def write_training_page(
    run: Path, examples: Mapping[str, Sequence[Example]] | None = None, words: str = ""
) -> Path:
    """Write ``run.html`` of a run, finished or not, whole or not at all; returns its path.

    The caller holds the lock of the folder.

    Args:
        run: the run folder.
        examples: by class, parts that it inspected.
        words: what parts they are, in a sentence.

    Raises:
        RunError: the run cannot be read, or the page not written.
    """
    with opened(run) as snapshot:
        html = _html(snapshot, examples or {}, words)
    write_text(run / PAGE, html)
    return run / PAGE


def _html(run: Snapshot, examples: Mapping[str, Sequence[Example]], words: str) -> str:
    config, log, has_ended = read_config(run), read_log(run), is_finished(run)
    seconds = training_seconds(run)
    plots: dict[str, str] = {}
    if log:
        plots["Loss"] = curve([e["loss"] for e in log], "mean loss of an epoch", log=True)
        plots["Learning rate"] = curve([e.get("lr", 0.0) for e in log], "at an epoch's start")
        plots["Speed"] = curve([e.get("images_per_s", 0.0) for e in log], "images per second")
        plots["Time"] = curve([e["seconds"] for e in log], "seconds of an epoch")
    page = templates().get_template("training.html")
    return page.render(
        title=f"Training of {run.source.resolve().name}",
        lead=_lead(config, log, seconds, has_ended),
        facts_of_run=_facts(run, config),
        plots=plots,
        rows=_rows(log),
        examples=examples,
        words=words,
        has_ended=has_ended,
    )


def _lead(
    config: TrainConfig, log: Sequence[Mapping[str, Any]], seconds: float, has_ended: bool
) -> str:
    done = len(log)
    if has_ended:
        return f"Trained: {done} epochs in {_duration(seconds)}." if done else "Trained."
    left = _duration((config.epochs - done) * seconds / done) if done else "unknown"
    after = ", then the residual head" if config.head != "off" else ""
    return (
        f"{done} of {config.epochs} epochs done in {_duration(seconds)}; about {left} left{after}."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _facts(run: Snapshot, config: TrainConfig) -> dict[str, str]:
    classes = read_data_summary(run)["classes"]
    held_out = sum(c.get("holdout", 0) for c in classes.values())
    shown = ", ".join(f"{name} {c['train']}" for name, c in classes.items())
    return {
        "Images": shown,
        "Held out": f"{held_out} good parts, for calibration" if held_out else "none",
        **({"Left out": f"{len(config.exclude)} images"} if config.exclude else {}),
        "Model": f"{model_name(config)}, encoder {config.encoder}",
        "Image size": " x ".join(map(str, config.size)),
        "Recipe": f"{config.recipe}, batches of {config.batch_size}, seed {config.seed}",
        "Software": ", ".join(f"{name} {text}" for name, text in read_version(run).items()),
    }


def _rows(log: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each epoch, with the figures of validations if there were any."""
    known = {name for epoch in log for name in epoch.get("validation", {})}
    metrics = [name for name in METRICS if name in known]
    rows = [["epoch", "loss", "learning rate", "images/s", "s", *(HEADINGS[m] for m in metrics)]]
    for epoch in log:
        figures = epoch.get("validation", {})
        rows.append(
            [
                str(epoch["epoch"]),
                f"{epoch['loss']:.4f}",
                f"{epoch.get('lr', 0.0):.2g}",
                f"{epoch.get('images_per_s', 0.0):.1f}",
                f"{epoch['seconds']:.1f}",
                *("" if (v := figures.get(m)) is None else f"{100 * v:.1f}" for m in metrics),
            ]
        )
    return rows
