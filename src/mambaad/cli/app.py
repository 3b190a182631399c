"""The ``mambaad`` command and its sub-commands."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from mambaad.cli import benchmark, verdicts
from mambaad.cli.data import app as data_app
from mambaad.errors import MambaADError

app = typer.Typer(
    help="Multi-class visual anomaly detection: train on good parts, find defects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(data_app, name="data")
app.command()(benchmark.benchmark)
app.command()(benchmark.profile)
app.command()(verdicts.calibrate)
app.command()(verdicts.extend)
app.command()(verdicts.bundle)
app.command()(verdicts.monitor)
app.add_typer(verdicts.registry, name="registry")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mambaad {version('mambaad')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to make, or to go on in.")] = Path(
        "mambaad-demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller images and fewer, for a first look.")
    ] = False,
) -> None:
    """The whole job on a small factory drawn here: train, evaluate, predict, report. Offline."""
    from mambaad.cli.tables import demo_summary
    from mambaad.workflows.demo import demo as run_demo

    try:
        evaluation = run_demo(out, quick=quick)
    except KeyboardInterrupt:
        typer.echo(
            f"mambaad: interrupted; go on with: mambaad demo --out {shlex.quote(str(out))}"
            + (" --quick" if quick else ""),
            err=True,
        )
        raise typer.Exit(130) from None
    typer.echo(demo_summary(out, evaluation))


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder in MVTec AD or another known layout.")],
    out: Annotated[Path, typer.Option(help="Run folder to make, or to resume.")],
    classes: Annotated[str | None, typer.Option(help="a,b,c: train on these only.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="Of DATA, if not as it is recognised; see data check.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="mambaad, or to compare: rd4ad, uniad. [mambaad]")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="paper (as released) or fast (small batches, cosine loss). [paper]"),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="base (as published) or lite (smaller, for edge boxes). [base]"),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="timm architecture, or embedded. [resnet34]")
    ] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Local .safetensors or .pth file; without it timm downloads its own."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="256, or 224x320 (height x width). [256]")
    ] = None,
    scan: Annotated[
        str | None, typer.Option(help="hilbert, zorder, zigzag, scan or sweep. [hilbert]")
    ] = None,
    directions: Annotated[int | None, typer.Option(help="1, 2, 4 or 8. [8]")] = None,
    epochs: Annotated[int | None, typer.Option(help="[100; fast: 6, lite 10]")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step, over all devices. [16; fast: 4]")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of AdamW. [0.005; fast: 0.002]")
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share of the good parts to keep out, for mambaad calibrate. [0]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[42]")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes, or GPUs. [1]")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed. [32-true]")] = None,
    cache_features: Annotated[
        str | None,
        typer.Option(help="Encoder's maps, between epochs: auto, memory, disk or off. [auto]"),
    ] = None,
    cache_images: Annotated[
        str | None,
        typer.Option(help="Resized images, where those maps are not kept: the same. [auto]"),
    ] = None,
    compile: Annotated[
        str | None,
        typer.Option(help="torch.compile the network: off, default or cuda-graphs. [off]"),
    ] = None,
    logger: Annotated[str | None, typer.Option(help="none, tensorboard or mlflow. [none]")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags go before it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")
    ] = False,
) -> None:
    """Train one model for all classes of a data set, on their good parts."""
    from mambaad.config import read_config_file
    from mambaad.workflows.train import train as run_training

    given: dict[str, Any] = {
        "classes": tuple(name.strip() for name in classes.split(",")) if classes else None,
        "layout": layout,
        "system": system,
        "recipe": recipe,
        "variant": variant,
        "encoder": encoder,
        "encoder_weights": encoder_weights,
        "size": size,
        "scan": scan,
        "directions": directions,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "holdout": holdout,
        "seed": seed,
        "devices": devices,
        "precision": precision,
        "cache_features": cache_features,
        "cache_images": cache_images,
        "compile": compile,
        "logger": logger,
    }
    settings = read_config_file(config) if config else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    try:
        run_training(data, out, resume=resume, skip_unreadable=skip_unreadable, **settings)
    except KeyboardInterrupt as interrupt:
        typer.echo(f"mambaad: {interrupt or 'interrupted'}", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"trained: {out}; next: mambaad evaluate {out} {data}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that training made.")],
    data: Annotated[Path, typer.Argument(help="Folder with one folder a class, MVTec AD layout.")],
    protocol: Annotated[
        str, typer.Option(help="exact, or ader-paper to compare with published numbers.")
    ] = "exact",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: faster where the processor has it.")
    ] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")
    ] = False,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Of a calibrated run: how often they are right.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with every image and its verdict.")
    ] = None,
) -> None:
    """Compute seven metrics and their mean for each class, on its test images."""
    from mambaad.cli.tables import metrics_table, verdict_tables
    from mambaad.files import check_writable, write_text
    from mambaad.workflows.evaluate import evaluate as run_evaluation

    for path in (json, csv):
        if path:
            check_writable(path)
    if verdicts or report:
        from mambaad.workflows.verdicts import calibrated, evaluate_verdicts

        calibrated(run, precision)  # type: ignore[arg-type]  # refused before the long work
    evaluation = run_evaluation(
        run,
        data,
        protocol=protocol,  # type: ignore[arg-type]  # both are checked there
        precision=precision,  # type: ignore[arg-type]
        device=device,
        skip_unreadable=skip_unreadable,
    )
    typer.echo(metrics_table(evaluation))
    if json:
        write_text(json, evaluation.to_json())
    if csv:
        write_text(csv, evaluation.to_csv())
    if verdicts or report:
        judged = evaluate_verdicts(
            run,
            data,
            precision=precision,  # type: ignore[arg-type]
            device=device,
            report=report,
            skip_unreadable=skip_unreadable,
        )
        typer.echo("\n" + verdict_tables(judged))
    if report:
        typer.echo(f"report: {report / 'index.html'}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder that training made.")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders searched for them.")],
    out: Annotated[Path, typer.Option(help="Folder for heatmaps, maps and records.")],
    product: Annotated[
        str | None, typer.Option("--class", help="Class of the images. [the most similar one]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page with every image and its verdict.")
    ] = None,
    good: Annotated[
        Path | None,
        typer.Option(help="Data set with good parts, for the report to compare flagged ones."),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(help="Write verdicts as JUnit XML; exit code 1 if any part fails."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: faster where the processor has it.")
    ] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Inspect images: heatmaps, and scores and verdicts in predictions.csv and .jsonl."""
    from collections import Counter

    from mambaad.files import check_writable, write_text
    from mambaad.workflows.predict import TABLE, verdicts_junit
    from mambaad.workflows.predict import predict as run_prediction

    if junit:
        check_writable(junit)
    records = run_prediction(
        run,
        images,
        out,
        product=product,
        precision=precision,  # type: ignore[arg-type]  # checked there
        device=device,
        report=report,
        good=good,
        need_verdicts=junit is not None,
    )
    failed = [record for record in records if record.error]
    typer.echo(f"{len(records) - len(failed)} images: {out / TABLE}")
    if report:
        typer.echo(f"report: {report / 'index.html'}")
    counts = Counter(record.verdict.value for record in records if record.verdict)
    for verdict, count in counts.most_common():
        typer.echo(f"{verdict:16}{count}")
    for record in failed:
        typer.echo(f"mambaad: {record.error}", err=True)
    if junit:
        write_text(junit, verdicts_junit(records))
    if failed or (junit and any(r.is_rejected for r in records)):
        raise typer.Exit(1)


@app.command()
def info(
    run: Annotated[Path, typer.Argument(help="Run folder that training made, or a bundle.")],
) -> None:
    """Show what a model was trained on, how, how far, and with which versions."""
    from mambaad.cli.tables import bundle_summary, run_summary

    typer.echo(bundle_summary(run) if run.is_file() else run_summary(run))


@app.command()
def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="Released .pth (or .safetensors) file.")],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    encoder: Annotated[str, typer.Option(help="timm architecture of its encoder.")] = "resnet34",
    scan: Annotated[str, typer.Option(help="Scan method it was trained with.")] = "hilbert",
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Local file, for a checkpoint without the encoder. [timm's, downloaded]"),
    ] = None,
) -> None:
    """Make a run from a checkpoint of the authors' released code."""
    from mambaad.workflows.import_checkpoint import import_checkpoint as run_import

    run_import(
        checkpoint,
        out,
        encoder=encoder,
        encoder_weights=encoder_weights or "timm",
        scan=scan,  # type: ignore[arg-type]  # checked there
    )
    typer.echo(f"imported: {out}; next: mambaad predict {out} IMAGES --out DIR")


@app.command()
def make_data(
    out: Annotated[Path, typer.Argument(help="Folder to make; refused if it has files.")],
    classes: Annotated[
        str | None, typer.Option(help="a,b,c: these products only. [all eleven]")
    ] = None,
    train: Annotated[int, typer.Option(help="Good parts a class.")] = 40,
    test: Annotated[int, typer.Option(help="Parts a class to test on, half of them good.")] = 40,
    size: Annotated[int, typer.Option(help="Side in pixels, a multiple of 32.")] = 256,
    seed: Annotated[int, typer.Option(help="Another seed, other parts.")] = 0,
    difficulty: Annotated[
        float, typer.Option(help="Of the defects, 0 (large, plain) to 1 (small, faint).")
    ] = 0.5,
) -> None:
    """Draw a data set of synthetic parts with defects and exact masks, MVTec AD layout."""
    from mambaad.data.synthetic import PRODUCTS
    from mambaad.data.synthetic import make_data as run_making

    names = [name.strip() for name in classes.split(",")] if classes is not None else None
    try:
        run_making(out, names, train=train, test=test, size=size, seed=seed, difficulty=difficulty)
    except KeyboardInterrupt:
        typer.echo("mambaad: interrupted; nothing was written", err=True)
        raise typer.Exit(130) from None
    count = len(set(names or PRODUCTS))
    typer.echo(
        f"made: {out}, {count} classes of {train} good parts to train on and {test} to test on; "
        f"next: mambaad train {out} --out RUN"
    )


def main() -> None:
    """Run the command line; every error a user can cause is one line and exit code 1."""
    try:
        app()
    except (MambaADError, OSError) as error:
        print(f"mambaad: {error}", file=sys.stderr)
        sys.exit(1)
