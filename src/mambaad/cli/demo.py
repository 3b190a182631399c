"""``mambaad demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import Threads
from mambaad.cli.output import show
from mambaad.cli.tables import aligned, metrics_table

if TYPE_CHECKING:
    from mambaad.workflows.demo import Demo


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder to create; an interrupted demo resumes in it.")
    ] = Path("mambaad-demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use fewer and smaller images, for a first look.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Train, calibrate and inspect synthetic parts. Writes a report; needs no network."""
    kept = f"interrupted; what was done is kept in {out}; resume with: {again()}"
    with exit_on_interrupt(kept):
        from mambaad.workflows.demo import demo as run_demo

        found = run_demo(out, quick=quick)
    show(_summary(out, found))


def _summary(out: Path, found: Demo) -> str:
    """Say what the demo found, and what to run next."""
    from mambaad.workflows.demo import NEXT_STEPS, PREDICTIONS, REPORT, RUN

    evaluation, verdicts = found.evaluation, found.verdicts
    warnings = "".join(f"\nWARNING: {line}" for line in verdicts.warnings())
    images = sum(len(scores) for scores in evaluation.scores.values())
    steps = "\n".join(f"  {command}\n      {words}" for command, words in NEXT_STEPS.items())
    return f"""
{verdicts.lead()}{warnings}

{aligned(verdicts.plain_rows())}
found: FAIL or REVIEW; missed: PASS; false alarm: a good part that FAILs

What was done: {len(evaluation.classes)} products drawn, one model trained and calibrated on good
parts of all of them; it inspected {images} test images and {len(found.new)} new parts.
  report       {out / REPORT}   (open it in a browser)
  heatmaps     {out / PREDICTIONS}
  model        {out / RUN}

For research:
{metrics_table(evaluation)}

With your own images:
{steps}"""
