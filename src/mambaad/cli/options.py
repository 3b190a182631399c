"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mambaad.data.walk import text

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
Classes = Annotated[
    list[str] | None,
    typer.Option(help="Use these classes only: a,b,c, or one each time it is given. [all]"),
]
Json = Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")]
Csv = Annotated[Path | None, typer.Option(help="Write the results to this CSV file.")]


def names(
    given: Sequence[str] | None, known: Callable[[], Collection[str]]
) -> tuple[str, ...] | None:
    """Return the names that an option gives, which can be repeated; None where none was given.

    Args:
        given: each is a known name, or several with commas between them: ``a,b,c``.
        known: lists the known names, which may have commas and spaces; called if it matters.
    """
    if given is None:
        return None
    found: list[str] = []
    for one in given:
        parts = [part.strip() for part in one.split(",")]
        whole = parts == [one] or text(one) in known()
        found += [one] if whole else parts
    return tuple(found)
