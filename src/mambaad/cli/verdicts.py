"""From a trained model to verdicts: calibrate, bundle, registry, monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

registry = typer.Typer(
    help="Which bundle each line inspects with: versions, in plain files.", no_args_is_help=True
)

Root = Annotated[Path, typer.Option(help="Folder of the registry.", envvar="MAMBAAD_REGISTRY")]
LineName = Annotated[str, typer.Argument(help="Name of the line.", metavar="LINE")]
_ROOT = Path("mambaad-registry")


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder that training made.")],
    data: Annotated[Path, typer.Argument(help="Data set it was trained on; or --new-parts.")],
    target_fpr: Annotated[float, typer.Option(help="Share of good parts that may FAIL.")] = 0.01,
    review_fpr: Annotated[
        float, typer.Option(help="Share of good parts that may not PASS.")
    ] = 0.05,
    cross_fit: Annotated[
        int | None,
        typer.Option(help="Train so many further models, each without a part of the good parts."),
    ] = None,
    new_parts: Annotated[
        bool, typer.Option("--new-parts", help="The good parts of DATA are new to the model.")
    ] = False,
    products: Annotated[
        Path | None,
        typer.Option(help="YAML file of mm per pixel, smallest defects and masks, by class."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16: as images will be inspected.")
    ] = "float32",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")
    ] = False,
) -> None:
    """Set the thresholds of PASS, REVIEW and FAIL on good parts that were not trained on."""
    from mambaad.cli.tables import aligned
    from mambaad.workflows.calibrate import calibrate as run_calibration
    from mambaad.workflows.calibrate import calibration_rows

    try:
        calibration = run_calibration(
            run,
            data,
            target_fpr=target_fpr,
            review_fpr=review_fpr,
            cross_fit=cross_fit,
            new_parts=new_parts,
            products=products,
            precision=precision,  # type: ignore[arg-type]  # checked there
            skip_unreadable=skip_unreadable,
        )
    except KeyboardInterrupt:
        typer.echo("mambaad: interrupted; type the same again to go on", err=True)
        raise typer.Exit(130) from None
    typer.echo(aligned(calibration_rows(calibration)))
    typer.echo(
        f"\n{calibration.method}; rate: of good parts above it, and where it lies with 95 % "
        f"confidence\nnext: mambaad evaluate {run} DATA --verdicts"
    )


def extend(
    run: Annotated[Path, typer.Argument(help="Run folder that training made.")],
    new: Annotated[Path, typer.Argument(help="Folder of one class, MVTec AD layout.")],
    old: Annotated[Path, typer.Option(help="Data set that the run was trained on.")],
    epochs: Annotated[int, typer.Option(help="Over the new parts and those replayed.")] = 3,
    replay: Annotated[
        float, typer.Option(help="Share of the old good parts that is shown again.")
    ] = 1.0,
    max_drop: Annotated[
        float, typer.Option(help="Most that any metric of an old class may fall, of 1.")
    ] = 0.03,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")
    ] = False,
) -> None:
    """Teach a trained model a further class; refused if it forgets the others."""
    import shlex

    from mambaad.cli.tables import aligned
    from mambaad.workflows.extend import extend as run_extension

    try:
        found = run_extension(
            run,
            new,
            old,
            epochs=epochs,
            replay=replay,
            max_drop=max_drop,
            skip_unreadable=skip_unreadable,
        )
    except KeyboardInterrupt as interrupt:
        typer.echo(f"mambaad: {interrupt or 'interrupted; type the same again'}", err=True)
        raise typer.Exit(130) from None
    typer.echo(aligned(found.to_rows()))
    typer.echo("per cent; of the old classes before > after, protocol exact")
    if found.untested:
        typer.echo(
            "nothing is known of what was forgotten of "
            f"{', '.join(found.untested)}: no good and defective test images"
        )
    if not found.is_accepted:
        worst = max(found.too_large, key=lambda c: c.drop)
        typer.echo(
            f"mambaad: {run} stays as it is: {worst.metric} of {worst.product} falls by "
            f"{worst.drop:.3f}, more than --max-drop {max_drop}; the extended run is in "
            f"{found.run}; give more --epochs or --replay (and remove it), or a larger --max-drop",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(
        f"extended: {found.run}, the former is {found.former}; next: put {new} beside the other "
        f"classes, and mambaad calibrate {shlex.quote(str(found.run))} DATA"
    )


def bundle(
    run: Annotated[Path, typer.Argument(help="Run folder that training made.")],
    out: Annotated[Path, typer.Option(help="File to write, *.mambaad.")],
    metrics: Annotated[
        Path | None, typer.Option(help="Figures of mambaad evaluate --json, to go with it.")
    ] = None,
) -> None:
    """Write a model as one file, with its calibration and where it comes from; no images."""
    from mambaad.artifacts.bundle import make_bundle
    from mambaad.files import check_writable

    check_writable(out)
    manifest = make_bundle(run, out, metrics)
    size = out.stat().st_size / 2**20
    calibrated = manifest.calibrated or "not calibrated: it gives scores and no verdicts"
    typer.echo(f"{out}: {len(manifest.classes)} classes, {calibrated}, {size:.1f} MiB")


def monitor(
    predictions: Annotated[
        list[Path], typer.Argument(help="Files that mambaad predict wrote, oldest first.")
    ],
    bundle: Annotated[Path, typer.Option(help="The calibrated bundle (or run) they are of.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="Chance of any alarm, ever, while nothing changes.")
    ] = 0.01,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the evidence, .png or .svg.")] = None,
) -> None:
    """See whether passed parts still look as calibration's did; exit code 3 if not, or too few."""
    from mambaad.cli.tables import aligned
    from mambaad.files import check_writable, write_text
    from mambaad.workflows.monitor import monitor as run_monitoring

    for path in (json, plot):
        if path:
            check_writable(path)
    report = run_monitoring(predictions, bundle, false_alarm_rate=false_alarm_rate, plot=plot)
    rows = [["class", "figure", "parts", "log evidence", "of", "shift"]]
    for name, watches in report.classes.items():
        for figure, watch in watches.items():
            highest = float(watch.evidence.max(initial=0.0))
            numbers = (f"{highest:.2f}", f"{report.level:.2f}", f"{watch.shift:+.2f}")
            rows.append([name, figure, str(watch.parts), *numbers])
    typer.echo(f"{aligned(rows)}\n\n{aligned(report.verdict_rows())}\n")
    if json:
        write_text(json, report.to_json())
    problems = [*report.alarms, *report.few_passed]
    for line in [*report.notes, *problems]:
        typer.echo(line)
    if problems:
        raise typer.Exit(3)
    typer.echo("no drift" if report.is_watched else "no part passed, so there is nothing to watch")


@registry.command()
def add(
    line: LineName,
    bundle: Annotated[Path, typer.Argument(help="Bundle to copy into the registry.")],
    note: Annotated[str, typer.Option(help="What is new in it.")] = "",
    root: Root = _ROOT,
) -> None:
    """Verify a bundle and keep a copy as the line's next version; promote puts it into use."""
    from mambaad.artifacts.registry import Registry

    version = Registry(root).add(line, bundle, note)
    typer.echo(f"{line}: version {version.number}, {len(version.classes)} classes")


@registry.command(name="list")
def list_lines(root: Root = _ROOT) -> None:
    """Show every line's versions; the one in use has a star."""
    from mambaad.artifacts.registry import Registry
    from mambaad.cli.tables import aligned

    rows = [["line", "version", "in use", "added", "classes", "note"]]
    for name, line in Registry(root).lines().items():
        for version in line.versions:
            star = "*" if version.number == line.current else ""
            classes = ", ".join(version.classes)
            rows.append([name, str(version.number), star, version.added, classes, version.note])
    typer.echo(aligned(rows) if len(rows) > 1 else f"no lines in {root}")


@registry.command()
def promote(
    line: LineName,
    version: Annotated[int, typer.Argument(help="Number of the version to use.")],
    root: Root = _ROOT,
) -> None:
    """Put a version into use."""
    from mambaad.artifacts.registry import Registry

    Registry(root).promote(line, version)
    typer.echo(f"{line}: version {version} is in use")


@registry.command()
def rollback(line: LineName, root: Root = _ROOT) -> None:
    """Put the version back into use that was in use before."""
    from mambaad.artifacts.registry import Registry

    typer.echo(f"{line}: version {Registry(root).rollback(line)} is in use again")


@registry.command()
def path(line: LineName, root: Root = _ROOT) -> None:
    """Print the path of the bundle in use, for mambaad predict."""
    from mambaad.artifacts.registry import Registry

    typer.echo(Registry(root).current(line))
