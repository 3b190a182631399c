"""``mambaad demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import Threads
from mambaad.cli.output import show
from mambaad.cli.tables import metrics_table

if TYPE_CHECKING:
    from mambaad.workflows.evaluate import Evaluation


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder to create; an interrupted demo resumes in it.")
    ] = Path("mambaad-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use fewer and smaller images, for a first look.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Train, evaluate and predict on synthetic parts. Writes a report; needs no network."""
    kept = f"interrupted; what was done is kept in {out}; resume with: {again()}"
    with exit_on_interrupt(kept):
        from mambaad.workflows.demo import demo as run_demo

        evaluation = run_demo(out, quick=quick)
    show(_summary(out, evaluation))


def _summary(out: Path, evaluation: Evaluation) -> str:
    """Say what the demo did, and what to run next."""
    from mambaad.workflows.demo import NEW, PREDICTIONS, REPORT, RUN

    new = len(list((out / NEW).iterdir()))
    images = sum(len(scores) for scores in evaluation.scores.values())
    return f"""{metrics_table(evaluation)}

What was done: {len(evaluation.classes)} products drawn, one model trained on good parts of all of
them, evaluated on {images} other images, and {new} new parts inspected.
  report       {out / REPORT}   (open it in a browser)
  heatmaps     {out / PREDICTIONS}
  model        {out / RUN}

With your own images (one folder per product, good parts in PRODUCT/train/good):
  mambaad train DATA --out RUN --encoder embedded --variant lite --recipe fast
  mambaad predict RUN IMAGES --out RESULTS
Without --encoder embedded, timm downloads an encoder trained on ImageNet, which finds more."""
