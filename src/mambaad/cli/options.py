"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by mambaad train.")]
Source = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder made by mambaad train, or a bundle.")
]
Precision = Annotated[
    str, typer.Option(help="float32, or bfloat16 (faster where the processor supports it).")
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, mps; auto: the first GPU that works, else the CPU.")
]
Compile = Annotated[
    str,
    typer.Option(
        help="Use torch.compile: off, default or cuda-graphs; auto: cuda-graphs on a GPU, else off."
    ),
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Skip unreadable images instead of stopping.")
]
Json = Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")]
Csv = Annotated[Path | None, typer.Option(help="Write the results to this CSV file.")]


def names(given: str | None) -> tuple[str, ...] | None:
    """Split a list such as ``a,b,c`` into names; None where none was given."""
    return tuple(name.strip() for name in given.split(",")) if given is not None else None
