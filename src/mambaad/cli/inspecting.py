"""``mambaad evaluate``, ``predict``, ``calibrate`` and ``monitor``: what a trained model is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli import checks
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import (
    Compile,
    Csv,
    Device,
    Json,
    MaxPixelsAs,
    Precision,
    RequireSignature,
    Run,
    SkipUnreadable,
    Source,
    Threads,
    Tiles,
)
from mambaad.cli.output import STANDARD_OUTPUT, check_results, show, show_next, write_results
from mambaad.cli.tables import aligned, further_table, metrics_table, verdict_tables
from mambaad.errors import ConfigError
from mambaad.files import check_writable, write_text

_SHOWN = 20

_LEGEND = (
    "log evidence: the highest so far that something has changed; an alarm is raised at the alarm "
    "level\nshift: of the latest parts' median, in standard deviations of the calibration's parts"
)


def evaluate(
    source: Source,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set with test images.")],
    protocol: Annotated[
        str, typer.Option(help="exact, or ader-paper to compare with published figures.")
    ] = "exact",
    at: Annotated[
        str,
        typer.Option(
            help="Compare pixels at the size of the anomaly map, where a region too small for it "
            "counts as one pixel, or of the mask (maps resized up)."
        ),
    ] = "map",
    json: Json = None,
    csv: Csv = None,
    precision: Precision = "float32",
    device: Device = "auto",
    threads: Threads = None,
    compile: Compile = "auto",
    skip_unreadable: SkipUnreadable = False,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Count right and wrong verdicts (once calibrated).")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for a page with every image; needs a calibrated model."),
    ] = None,
    max_pixels: MaxPixelsAs = None,
    records: Annotated[
        str | None,
        typer.Option(help="Take scores and maps of these results of mambaad inspect --maps."),
    ] = None,
    tiles: Tiles = None,
    require_signature: RequireSignature = None,
) -> None:
    """Measure a model on test images. Seven metrics for each class, and their means."""
    check_results(json, csv)
    if json and json == csv:
        raise ConfigError(f"--json and --csv are both {json}; give two places")
    checks.check_protocol(protocol)
    checks.check_place(at, protocol)
    checks.check_compute(precision, device, compile)
    checks.check_tiles(tiles)
    checks.check_source(source)
    checks.check_test_data(source, data)
    if verdicts or report:
        checks.check_calibrated(source, precision)
    if records is not None:
        checks.check_installed("pyarrow", "shards", "--records")
    from mambaad.workflows.evaluate import evaluate as run_evaluation

    evaluation = run_evaluation(
        source,
        data,
        protocol=protocol,  # type: ignore[arg-type]  # checked above
        at=at,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        device=device,
        compile=compile,  # type: ignore[arg-type]
        skip_unreadable=skip_unreadable,
        verdicts=verdicts,
        report=report,
        max_pixels=max_pixels,
        records=records,
        tiles=tiles,
    )
    show(metrics_table(evaluation))
    if evaluation.further:
        show(f"\n{further_table(evaluation)}")
    write_results(json, evaluation.to_json())
    write_results(csv, evaluation.to_csv())
    if evaluation.verdicts:
        show("\n" + verdict_tables(evaluation.verdicts, at))
    if report:
        show(f"report: {report / 'index.html'}")
    _show_after_evaluation(source, data, precision, json, has_verdicts=bool(evaluation.verdicts))


def _show_after_evaluation(
    source: Path, data: Path, precision: str, json: Path | None, *, has_verdicts: bool
) -> None:
    """Name the next step to verdicts on a line: calibrate, count verdicts, bundle, inspect."""
    calibrated = checks.calibration_of(source)
    same = [] if precision == "float32" else ["--precision", precision]
    if source.is_file():
        show_next("predict", source, "IMAGES", "--out", "RESULTS", *same)
    elif calibrated is None:
        show_next("calibrate", source, data, *checks.how_to_calibrate(source), *same)
    elif not has_verdicts and calibrated == precision:
        show_next("evaluate", source, data, "--verdicts", *same)
    else:
        figures = ["--metrics", json] if json and json != STANDARD_OUTPUT else []
        show_next("bundle", source, "--out", source.with_suffix(".mambaad"), *figures)


def predict(
    source: Source,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Images, or folders to search for them.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for predictions.csv, .jsonl, and each image's .heatmap.png and .map.npy."
        ),
    ],
    product: Annotated[
        str | None,
        typer.Option("--class", help="Product shown in all images. [inferred for each image]"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder for a page with every image (and verdict, once calibrated)."),
    ] = None,
    good: Annotated[
        Path | None,
        typer.Option(
            help="Data set whose good parts the page shows beside flagged ones. Needs --report."
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            help="Write verdicts as JUnit XML; exit code 1 if any image is neither PASS nor REVIEW."
        ),
    ] = None,
    precision: Precision = "float32",
    device: Device = "auto",
    threads: Threads = None,
    compile: Compile = "auto",
    max_pixels: MaxPixelsAs = None,
    tiles: Tiles = None,
    require_signature: RequireSignature = None,
) -> None:
    """Inspect images. Heatmaps, and scores and verdicts in predictions.csv and .jsonl."""
    from collections import Counter

    if junit:
        check_writable(junit)
    checks.check_compute(precision, device, compile)
    checks.check_tiles(tiles)
    checks.check_source(source, product=product)
    checks.check_images(images)
    if good and not report:
        raise ConfigError("--good shows good parts on a page; give --report too, or omit it")
    if junit:
        checks.check_calibrated(source, precision)
    from mambaad.workflows.predict import predict as run_prediction
    from mambaad.workflows.predict import verdicts_junit
    from mambaad.workflows.predict_inputs import RECORDS, TABLE

    kept = f"interrupted; what was inspected is kept in {out / RECORDS}; all again with: {again()}"
    with exit_on_interrupt(kept):
        records = run_prediction(
            source,
            images,
            out,
            product=product,
            precision=precision,  # type: ignore[arg-type]  # checked above
            device=device,
            compile=compile,  # type: ignore[arg-type]
            report=report,
            good=good,
            need_verdicts=junit is not None,
            max_pixels=max_pixels,
            tiles=tiles,
        )
    skipped = [record for record in records if record.skipped]
    failed = [record for record in records if record.error and not record.skipped]
    show(f"{len(records) - len(failed) - len(skipped)} images: {out / TABLE}")
    if failed:
        show(f"{len(failed)} not inspected: see below, and {out / RECORDS}")
    if skipped:
        others = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        show(f"passed over as usual: {skipped[0].error}{others}: {out / RECORDS}")
    if report:
        show(f"report: {report / 'index.html'}")
    counts = Counter(record.verdict.value for record in records if record.verdict)
    for verdict, count in counts.most_common():
        show(f"{verdict:16}{count}")
    for record in failed[:_SHOWN]:
        show(f"mambaad: {record.error}", err=True)
    if len(failed) > _SHOWN:
        show(f"mambaad: and {len(failed) - _SHOWN} more", err=True)
    if junit:
        write_text(junit, verdicts_junit(records))
    if failed or (junit and any(r.is_rejected for r in records)):
        raise typer.Exit(ExitCode.FAILED)
    if not counts and source.is_dir():
        show_next(
            *("calibrate", source, "DATA", *checks.how_to_calibrate(source)),
            first="verdicts need thresholds: ",
        )
    elif counts and not report:
        show_next("predict", source, *images, "--out", out, "--report", f"{out}-report")
    elif counts:
        show_next("monitor", out / RECORDS, "--bundle", source)


def calibrate(
    run: Run,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Data set it was trained on; or see --new-parts.")
    ],
    target_fpr: Annotated[float, typer.Option(help="Share of good parts that may FAIL.")] = 0.01,
    review_fpr: Annotated[
        float, typer.Option(help="Share of good parts that may not PASS.")
    ] = 0.05,
    cross_fit: Annotated[
        int | None,
        typer.Option(
            help="Train N more models, each leaving out 1/N of the good parts, and calibrate on "
            "all of them.",
            metavar="N",
        ),
    ] = None,
    new_parts: Annotated[
        bool, typer.Option("--new-parts", help="The model has seen none of the good parts in DATA.")
    ] = False,
    products: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with, for each class, any of mm_per_px, min_area_px or min_area_mm2, "
            "region_of_interest, ignore."
        ),
    ] = None,
    precision: Precision = "float32",
    device: Device = "auto",
    threads: Threads = None,
    skip_unreadable: SkipUnreadable = False,
    max_pixels: MaxPixelsAs = None,
    tiles: Tiles = None,
) -> None:
    """Set the thresholds of PASS, REVIEW and FAIL. Uses good parts that were not trained on."""
    from mambaad.inspection.rates import check_rates

    checks.check_compute(precision, device)
    checks.check_tiles(tiles)
    check_rates(target_fpr, review_fpr)
    checks.check_source(run)
    kept = "the models trained so far are kept" if cross_fit else "nothing was changed"
    with exit_on_interrupt(f"interrupted; {kept}; go on with: {again()}"):
        from mambaad.workflows.calibrate import calibrate as run_calibration
        from mambaad.workflows.calibration_table import calibration_notes, calibration_rows

        calibration = run_calibration(
            run,
            data,
            target_fpr=target_fpr,
            review_fpr=review_fpr,
            cross_fit=cross_fit,
            new_parts=new_parts,
            products=products,
            precision=precision,  # type: ignore[arg-type]  # checked above
            device=device,
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
            tiles=tiles,
        )
    show(aligned(calibration_rows(calibration), last_is_text=True))
    show(
        f"\n{calibration.method}; rate: share of good parts above the threshold, with its 95 % "
        "confidence interval"
    )
    for note in calibration_notes(calibration):
        show(note)
    same = [] if precision == "float32" else ["--precision", precision]
    if new_parts:  # which need not come with defective ones
        show_next("bundle", run, "--out", run.with_suffix(".mambaad"))
    else:
        show_next("evaluate", run, data, "--verdicts", *same)


def monitor(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS", help="Records that mambaad predict wrote, oldest first."
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="The calibrated bundle (or run) that wrote them.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="Probability of any alarm, ever, while nothing changes.")
    ] = 0.01,
    json: Json = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the evidence to a .png or .svg.")] = None,
    require_signature: RequireSignature = None,
) -> None:
    """Look for drift. Compares passed parts with calibration's; exit code 3 on an alarm."""
    check_results(json)
    if plot:
        check_writable(plot)
    checks.check_source(bundle)
    from mambaad.workflows.monitor import monitor as run_monitoring

    report = run_monitoring(predictions, bundle, false_alarm_rate=false_alarm_rate, plot=plot)
    rows = [["class", "figure", "parts", "log evidence", "alarm level", "shift"]]
    for name, watches in report.classes.items():
        for figure, watch in watches.items():
            highest = float(watch.evidence.max(initial=0.0))
            numbers = (f"{highest:.2f}", f"{report.level:.2f}", f"{watch.shift:+.2f}")
            rows.append([name, figure, str(watch.parts), *numbers])
    show(f"{aligned(rows)}\n{_LEGEND}\n\n{aligned(report.verdict_rows())}\n")
    write_results(json, report.to_json())
    problems = [*report.alarms, *report.few_passed]
    for line in [*report.notes, *problems]:
        show(line)
    if problems:
        raise typer.Exit(ExitCode.ALARM)
    show("no drift" if report.is_watched else "no part passed, so there is nothing to watch")
