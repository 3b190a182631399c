"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mambaad.cli.output import STANDARD_OUTPUT, taken_by_results
from mambaad.data.walk import text
from mambaad.process import use_threads
from mambaad.progress import warn

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


def _take_output(context: typer.Context, path: Path | None) -> Path | None:
    if path == STANDARD_OUTPUT and not context.resilient_parsing:
        context.with_resource(taken_by_results())  # until the command has ended
    return path


Json = Annotated[
    Path | None,
    typer.Option(
        help="Write the results to this JSON file; -: to standard output.", callback=_take_output
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        help="Write the results to this CSV file; -: to standard output.", callback=_take_output
    ),
]


def _limit_threads(context: typer.Context, count: int | None) -> int | None:
    if count and not context.resilient_parsing and (used := use_threads(count)) < count:
        warn(f"--threads {count}: this process may use {used} cores, so it computes with {used}")
    return count


Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads to compute with; fewer leave cores to other programs. [the cores]",
        callback=_limit_threads,
    ),
]


BitDepth = Annotated[
    str | None,
    typer.Option(
        help="Bits in use of images stored with 16: 8, 10, 12, 14 or 16; auto: by their values. "
        "[auto]"
    ),
]
FloatRange = Annotated[
    str | None, typer.Option(help="Values of black and white in images of floats, such as 0,1.")
]
MaxPixels = Annotated[
    int | None, typer.Option(help="Refuse images with more pixels, as unsafe to decode. [89478485]")
]

MaxPixelsAs = Annotated[
    int | None, typer.Option(min=1, help="Refuse images with more pixels. [as in training]")
]


Tiles = Annotated[
    str | None,
    typer.Option(
        help="Size and stride of the tiles in which images larger than one are seen, such as "
        "512:384, or off. [as calibrated, or trained]"
    ),
]


def _require(context: typer.Context, key: Path | None) -> None:
    if key:
        from mambaad.artifacts.signatures import required

        context.with_resource(required(key))  # until the command has ended


RequireSignature = Annotated[
    Path | None,
    typer.Option(
        envvar="MAMBAAD_REQUIRE_SIGNATURE",
        help="Refuse what is not signed with the private key of this public one.",
        callback=_require,
    ),
]


def reading(
    bit_depth: str | None, float_range: str | None, max_pixels: int | None
) -> dict[str, Any]:
    """The settings of reading that were given, by name."""
    given = {"bit_depth": bit_depth, "float_range": float_range, "max_pixels": max_pixels}
    return {name: value for name, value in given.items() if value is not None}


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
