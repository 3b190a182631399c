"""``mambaad train``, ``extend`` and ``import-checkpoint``: three ways to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mambaad.cli import checks
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import (
    BitDepth,
    Classes,
    Device,
    FloatRange,
    MaxPixels,
    Run,
    SkipUnreadable,
    Threads,
    names,
    reading,
)
from mambaad.cli.output import show, show_next
from mambaad.cli.tables import aligned
from mambaad.launch import launched

if TYPE_CHECKING:
    from mambaad.workflows.extend import Extension


def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Data set in MVTec AD or another known layout.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to create, or to resume.")],
    classes: Classes = None,
    layout: Annotated[
        str | None, typer.Option(help="Layout of DATA; see mambaad data check. [recognised]")
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Text file of training images to leave out: one path a line, relative to DATA. "
            "[none]"
        ),
    ] = None,
    bit_depth: BitDepth = None,
    float_range: FloatRange = None,
    max_pixels: MaxPixels = None,
    system: Annotated[
        str | None, typer.Option(help="mambaad; rd4ad or uniad to compare with. [mambaad]")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="paper (released settings, but 100 epochs) or fast (small batches, cosine loss). "
            "[paper]"
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="base (as published) or lite (smaller, for edge devices). [base]"),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="timm architecture, or embedded (comes with mambaad). [resnet34]"),
    ] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Local .safetensors or .pth file. [downloaded by timm]"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Height and width of images: 256, or 224x320. [256; DINO's ViTs: 28 patches]"
        ),
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="Size and stride of the tiles in which images larger than one are seen, such as "
            "512:384; size is then theirs. [none]"
        ),
    ] = None,
    mixer: Annotated[
        str | None,
        typer.Option(
            help="State-space block: s6 (selective scans, as published), vssd (one state for all "
            "cells, no scan) or ssd (Mamba-2, two directions). [s6]"
        ),
    ] = None,
    scan: Annotated[
        str | None,
        typer.Option(help="Scan order: hilbert, zorder, zigzag, scan or sweep. [hilbert]"),
    ] = None,
    directions: Annotated[
        int | None, typer.Option(help="Scan directions: 1, 2, 4 or 8. [8; lite: 4]")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="residual (a head trained on synthetic defects, which makes a quarter of the "
            "anomaly map) or off. [off; fast: residual]"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training images. [100; fast: 6; fast and lite: 10]"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step, over all devices. [16; fast: 4]")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate of AdamW. [0.005; fast: 0.002]")
    ] = None,
    trim: Annotated[
        float | None,
        typer.Option(
            help="Share of positions, those rebuilt worst, not to learn: for defects among the "
            "good parts. [0]"
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(help="Share of good parts to hold out for mambaad calibrate. [0]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random. [42]")] = None,
    device: Device = "auto",
    threads: Threads = None,
    devices: Annotated[int | None, typer.Option(help="Number of processes or GPUs. [1]")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true or bf16-mixed. [32-true]")] = None,
    cache_features: Annotated[
        str | None,
        typer.Option(
            help="Keep the encoder's maps between epochs: auto, device (a GPU's memory), memory, "
            "disk or off. [auto]"
        ),
    ] = None,
    cache_images: Annotated[
        str | None,
        typer.Option(
            help="Keep resized images between epochs if the encoder's maps are not kept: auto, "
            "memory, disk or off. [auto]"
        ),
    ] = None,
    compile: Annotated[
        str | None,
        typer.Option(
            help="Use torch.compile: auto (on a GPU), off, default or cuda-graphs. [auto]"
        ),
    ] = None,
    logger: Annotated[
        str | None, typer.Option(help="Log to: none, tensorboard or mlflow. [none]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags override it.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume an interrupted run; with more --epochs, train a run longer, finished or "
            "not.",
        ),
    ] = False,
    skip_unreadable: SkipUnreadable = False,
) -> None:
    """Train one model for all classes of a data set. Uses their good parts only."""
    from mambaad.data.exclusion import read_exclusions
    from mambaad.data.layout_file import as_setting
    from mambaad.data.layouts import class_names
    from mambaad.settings_file import naming_line, read_settings_file

    given: dict[str, Any] = {
        "layout": layout,
        "exclude": exclude,
        **reading(bit_depth, float_range, max_pixels),
        "system": system,
        "recipe": recipe,
        "variant": variant,
        "encoder": encoder,
        "encoder_weights": encoder_weights,
        "size": size,
        "tiles": tiles,
        "mixer": mixer,
        "scan": scan,
        "directions": directions,
        "head": head,
        "epochs": epochs,
        "batch_size": batch_size,
        "trim": trim,
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
    settings = read_settings_file(config) if config else {}
    flags = {name: value for name, value in given.items() if value is not None}
    only_in_file = settings.keys() - flags.keys()
    settings |= flags
    if "layout" in settings:
        settings["layout"] = as_setting(settings["layout"])
    if classes and any(classes):
        settings["classes"] = names(
            classes, lambda: class_names(data, layout=settings.get("layout"))
        )
    if isinstance(settings.get("exclude"), (str, Path)):  # else the names themselves
        settings["exclude"] = read_exclusions(settings["exclude"], data)
    launch = launched()
    if launch is None or launch.is_first:  # the others hear from it what is wrong
        with naming_line(config, only_in_file):
            checks.check_training(data, out, settings, device, resume=resume)
    with exit_on_interrupt(None if launch else lambda: _kept(out)):
        from mambaad.workflows.train import train as run_training

        run_training(
            data, out, resume=resume, skip_unreadable=skip_unreadable, device=device, **settings
        )
    if launch is None or launch.is_first:
        show_next("evaluate", out, data, done=f"trained: {out}")


def _kept(out: Path) -> str:
    """Say what an interrupted training has kept, and how to go on."""
    from mambaad.artifacts.manifest import has_begun

    if not has_begun(out):
        return f"interrupted; nothing was written; again with: {again()}"
    return f"interrupted; what was trained is kept in {out}; resume with: {again('--resume')}"


def extend(
    run: Run,
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Folder of the new class, in MVTec AD's layout.")
    ],
    old: Annotated[Path, typer.Option(help="Data set that the run was trained on.")],
    epochs: Annotated[int, typer.Option(help="Passes over the new and the replayed parts.")] = 3,
    replay: Annotated[float, typer.Option(help="Share of the old good parts to replay.")] = 1.0,
    max_drop: Annotated[
        float, typer.Option(help="Most that any metric (0 to 1) of an old class may fall.")
    ] = 0.03,
    skip_unreadable: SkipUnreadable = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Teach a trained model a further class. Refused if it forgets the others."""
    from mambaad.inference.compute import check_device

    check_device(device)
    checks.check_source(run)
    kept = f"interrupted; {run} was not changed, and what was trained is kept beside it"
    with exit_on_interrupt(f"{kept}; go on with: {again()}"):
        from mambaad.workflows.extend import extend as run_extension

        found = run_extension(
            run,
            new,
            old,
            epochs=epochs,
            replay=replay,
            max_drop=max_drop,
            skip_unreadable=skip_unreadable,
            device=device,
        )
    _report_extension(run, new, old, found, replay)


def _report_extension(run: Path, new: Path, old: Path, found: Extension, replay: float) -> None:
    show(aligned(found.to_rows()))
    show("per cent; old classes: before > after; protocol exact, at the map's size")
    if found.untested:
        show(
            f"forgetting was not measured for {', '.join(found.untested)}, for lack of good or "
            "defective test images"
        )
    if not found.is_accepted:
        worst = max(found.too_large, key=lambda change: change.drop)
        show(
            f"mambaad: {run} was not changed: {worst.metric} of {worst.product} falls by "
            f"{worst.drop:.3f}, more than --max-drop {found.max_drop}; to accept this, run the "
            "same command with a larger --max-drop (nothing is trained again); to try again, "
            f"delete {found.run} and give more --epochs"
            f"{' or a larger --replay' if replay < 1 else ''}",
            err=True,
        )
        raise typer.Exit(ExitCode.FAILED)
    show(f"extended: {found.run}, the former is {found.former}")
    show_next(
        *("calibrate", found.run, old, *checks.how_to_calibrate(found.run)),
        first=f"put {new} beside the other classes in {old}, and ",
    )


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Released .pth (or .safetensors) file.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to create.")],
    encoder: Annotated[str, typer.Option(help="timm architecture of its encoder.")] = "resnet34",
    scan: Annotated[str, typer.Option(help="Scan order it was trained with.")] = "hilbert",
    encoder_weights: Annotated[
        str | None,
        typer.Option(help="Local file, for a checkpoint without its encoder. [downloaded by timm]"),
    ] = None,
) -> None:
    """Make a run from a checkpoint of the paper's authors. It is read as they released it."""
    from mambaad.config import make_config

    checks.check_file(checkpoint, "CHECKPOINT")
    make_config({"encoder": encoder, "scan": scan})
    from mambaad.workflows.import_checkpoint import import_checkpoint as run_import

    run_import(
        checkpoint,
        out,
        encoder=encoder,
        encoder_weights=encoder_weights or "timm",
        scan=scan,  # type: ignore[arg-type]  # checked above
    )
    show_next("predict", out, "IMAGES", "--out", "RESULTS", done=f"imported: {out}")
