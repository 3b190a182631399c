"""``mambaad export``: a model for another runtime, and whether it says the same there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli import checks
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import RequireSignature, Source, Threads
from mambaad.cli.output import show, show_next
from mambaad.errors import ConfigError

_SHOWN = 20


def export(
    source: Source,
    out: Annotated[
        Path, typer.Option(help="Folder of the export. It is written whole, or with --check read.")
    ],
    to: Annotated[
        str | None, typer.Option(help="onnx, openvino or torch-export. [onnx, without --check]")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32; int8, with --to onnx and --data; bfloat16, with the others. [float32]"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="int8, bfloat16: the data set that the model was trained on. Scales of int8 are "
            "chosen on it, and thresholds set on the parts that training held out."
        ),
    ] = None,
    calibrate_on: Annotated[
        Path | None,
        typer.Option(
            help="int8, bfloat16: data set of new good parts, to set thresholds by, if training "
            "held none out."
        ),
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGES",
            help="Compare the export with RUN on images, or folders of them; exit code 3 if it "
            "differs. Without --to an export that is there.",
        ),
    ] = None,
    threads: Threads = None,
    require_signature: RequireSignature = None,
) -> None:
    """Write a model for another runtime. It inspects from there without PyTorch."""
    checks.check_source(source)
    if check:
        checks.check_images(check)
    given = {"--precision": precision, "--data": data, "--calibrate-on": calibrate_on}
    if check and not to and (names := [name for name, value in given.items() if value]):
        raise ConfigError(
            f"{names[0]}: --check without --to compares the export that {out} is; omit it, or add "
            "--to to write one first"
        )
    if to or not check:
        with exit_on_interrupt(f"interrupted; nothing was written; again with: {again()}"):
            _write(source, out, to or "onnx", precision or "float32", data, calibrate_on)
    if check:
        _compare(source, out, check)
    else:
        show_next("export", source, "--out", out, "--check", "IMAGES")


def _write(
    source: Path,
    out: Path,
    to: str,
    precision: str,
    data: Path | None,
    calibrate_on: Path | None,
) -> None:
    from mambaad.workflows.export import export as run_export

    manifest = run_export(
        source,
        out,
        to=to,  # type: ignore[arg-type]  # it checks it
        precision=precision,  # type: ignore[arg-type]
        data=data,
        calibrate_on=calibrate_on,
    )
    size = sum(file.size for file in manifest.files.values()) / 2**20
    verdicts = "with thresholds" if manifest.thresholds else "no thresholds, so no verdicts"
    show(
        f"{out}: {manifest.target}, {manifest.precision}, {size:.1f} MiB; maps within "
        f"{manifest.checked['maps']:.1g} of mambaad's; {verdicts}"
    )


def _compare(source: Path, out: Path, images: list[Path]) -> None:
    from mambaad.workflows.export import check_export

    found = check_export(source, out, images)
    unread = f", {found.unread} could not be read" if found.unread else ""
    show(
        f"{found.images} images{unread}: maps differ by at most {found.maps:.2g} (the largest "
        f"value is {found.largest:.2g}), scores by {found.scores:.2g}, evidence by "
        f"{found.evidence:.2g}"
    )
    if not all(found.has_verdicts):
        which = "the model" if not found.has_verdicts[0] else "the export"
        show(f"{which} gives no verdicts, so none were compared")
    else:
        show(f"{len(found.changed)} verdicts changed, {found.near} of them at a threshold")
    for line in found.changed[:_SHOWN]:
        show(line)
    if not found.is_same:
        raise typer.Exit(ExitCode.ALARM)
