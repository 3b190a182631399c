"""``mambaad export``: a model for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli import checks
from mambaad.cli.options import RequireSignature, Source
from mambaad.cli.output import show


def export(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder to write; it gets the graph and export.json.")],
    to: Annotated[str, typer.Option(help="onnx, openvino or torch-export.")] = "onnx",
    precision: Annotated[
        str, typer.Option(help="float32; or bfloat16 or int8, for some targets.")
    ] = "float32",
    require_signature: RequireSignature = None,
) -> None:
    """Write a model for another runtime. It inspects from there without PyTorch."""
    checks.check_source(source)
    from mambaad.workflows.export import export as run_export

    manifest = run_export(
        source,
        out,
        to=to,  # type: ignore[arg-type]  # it checks it
        precision=precision,  # type: ignore[arg-type]
    )
    size = sum(file.size for file in manifest.files.values()) / 2**20
    show(
        f"{out}: {manifest.target}, {manifest.precision}, {size:.1f} MiB; maps within "
        f"{manifest.checked['maps']:.1g} of mambaad's"
    )
