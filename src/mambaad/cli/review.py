"""``mambaad recalibrate`` and ``mambaad serve export``: what people decided, put to use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli.options import Threads
from mambaad.cli.output import show, show_next
from mambaad.cli.serve import _DATA, Data, Database, _needs_extra, app
from mambaad.cli.tables import aligned


def recalibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle to recalibrate.")],
    out: Annotated[Path, typer.Option(help="The new bundle, *.mambaad.")],
    data: Data = _DATA,
    database: Database = None,
    target_fpr: Annotated[float, typer.Option(help="Share of good parts that may FAIL.")] = 0.01,
    review_fpr: Annotated[
        float, typer.Option(help="Share of good parts that may be anything but a PASS.")
    ] = 0.05,
    since: Annotated[
        str | None,
        typer.Option(help="Use parts inspected since then, such as 2026-01-31T12:00:00Z. [all]"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")] = (
        "auto"
    ),
    threads: Threads = None,
) -> None:
    """Set thresholds again, from reviewed parts of a service.

    Only parts that were drawn at random and confirmed as good are used, of each product.
    Good parts that were in review because of their score are never used: they would raise the
    thresholds. Products without such parts keep theirs. The service may run meanwhile.
    """
    _needs_extra()
    from mambaad.serve.review import stored
    from mambaad.workflows.calibration_table import calibration_rows

    calibration = stored.recalibrate(
        bundle,
        out,
        data,
        database,
        target_fpr=target_fpr,
        review_fpr=review_fpr,
        since=since,
        device=device,
    )
    show(aligned(calibration_rows(calibration)))
    show_next("registry", "add", "LINE", out, done=f"written: {out}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    data: Data = _DATA,
    database: Database = None,
    for_calibration: Annotated[
        bool,
        typer.Option("--for-calibration", help="Only the random share, which may calibrate."),
    ] = False,
) -> None:
    """Write the decisions as a data set in MVTec AD layout."""
    _needs_extra()
    from mambaad.serve.review import stored

    counts = stored.export(data, out, database, for_calibration=for_calibration)
    found = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no decisions"
    show(f"{out}: {found}")
    if counts:
        show_next("data", "check", out)
