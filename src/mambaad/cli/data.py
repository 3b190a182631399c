"""``mambaad data``: looking at data sets, and making those that are made from others."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a data set; make COCO-AD from COCO.", no_args_is_help=True)

_SHOWN = 20


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Folder of the data set, in any known layout.")],
    layout: Annotated[
        str | None,
        typer.Option(
            help="mvtec, visa, real-iad, mvtec-3d, uni-medical, coco-ad, btad or mpdd. [recognised]"
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at names only, open no image.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything found to this file.")] = None,
) -> None:
    """Recognise a data set, count its images, and report what is missing or odd."""
    from mambaad.data.inventory import check_data
    from mambaad.data.layouts import find_layout
    from mambaad.files import check_writable, write_text
    from mambaad.progress import ProgressBar

    if json:
        check_writable(json)
    with ProgressBar("opening images") as bar:
        inventory = check_data(root, layout=layout, quick=quick, progress=bar.update)
    typer.echo(f"{root}: layout of {inventory.layout}\n")
    typer.echo(_aligned(inventory.to_rows()))
    for title, lines in (("notes", inventory.notes), ("problems", inventory.problems)):
        if lines:
            typer.echo(f"\n{title} ({len(lines)}):")
            for line in lines[:_SHOWN]:
                typer.echo(f"  {line}")
            if len(lines) > _SHOWN:
                typer.echo(f"  and {len(lines) - _SHOWN} more: see them all with --json FILE")
    if json:
        write_text(json, inventory.to_json())
    if inventory.problems:
        raise typer.Exit(1)
    chosen = f" --layout {layout}" if layout else ""
    if find_layout(root, layout).one_by_one:
        chosen += f" --classes {inventory.classes[0].name}"
    typer.echo(f"\nno problems; next: mambaad train {shlex.quote(str(root))} --out RUN{chosen}")


@app.command()
def build_coco_ad(
    root: Annotated[
        Path, typer.Argument(help="Folder of COCO 2017: annotations, train2017, val2017.")
    ],
    split: Annotated[
        list[int] | None, typer.Option(help="0, 1, 2 or 3; can be repeated. [all four]")
    ] = None,
) -> None:
    """Draw the masks of COCO-AD beside the images, and list what is for training and testing."""
    from mambaad.data.readers.coco_ad import SPLITS
    from mambaad.data.readers.coco_ad_build import build_coco_ad as run_building
    from mambaad.progress import ProgressBar

    try:
        with ProgressBar("drawing masks") as bar:
            made = run_building(root, split or SPLITS, progress=bar.update)
    except KeyboardInterrupt:
        typer.echo("mambaad: interrupted; finished splits were kept", err=True)
        raise typer.Exit(130) from None
    names = [f"coco_{k}" for k in made]
    typer.echo(
        f"made: {', '.join(names) or 'nothing, all were there'}; "
        f"next: mambaad train {shlex.quote(str(root))} --classes coco_0 --out RUN"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # Numbers to the right; the names of classes and of types to the left.
    lines = (
        "  ".join(
            cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
