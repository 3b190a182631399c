"""The ``mambaad`` command: its sub-commands, its version, and how errors are shown."""

from __future__ import annotations

import atexit
import codecs
import io
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from mambaad.cli import (
    benchmark,
    data,
    demo,
    exporting,
    inspecting,
    models,
    registry,
    review,
    serve,
    training,
)
from mambaad.cli.interrupts import InterruptibleGroup
from mambaad.cli.output import show
from mambaad.errors import MambaADError
from mambaad.files import printable
from mambaad.process import is_out_of_memory
from mambaad.progress import show_progress

app = typer.Typer(
    cls=InterruptibleGroup,
    help="Multi-class visual anomaly detection: train on good parts, find defects.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # markup would swallow defaults such as [mambaad]
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

for command in (
    demo.demo,
    training.train,
    inspecting.evaluate,
    inspecting.predict,
    inspecting.calibrate,
    review.recalibrate,
    training.extend,
    models.bundle,
    exporting.export,
    models.keygen,
    models.info,
    inspecting.monitor,
    data.make_data,
    training.import_checkpoint,
    benchmark.benchmark,
    benchmark.profile,
):
    app.command()(command)
app.add_typer(registry.app, name="registry")
app.add_typer(data.app, name="data")
app.add_typer(serve.app, name="serve")


def _print_version(asked: bool) -> None:
    if asked:
        show(f"mambaad {version('mambaad')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


NO_MEMORY = (
    "the memory is full; end other programs, or ask for less: in training a smaller --batch-size "
    "or --size, fewer --devices, or --cache-features disk; elsewhere smaller or fewer images at "
    "a time (--max-pixels refuses large ones)"
)


def main() -> None:
    """Run the command line; every error that a user can cause is one line and exit code 1."""
    show_progress()
    codecs.register_error("mambaad", _escape)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # all is done then
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mambaad")
    try:
        app()
    except KeyboardInterrupt:  # before a command began
        show("mambaad: interrupted", err=True)
        sys.exit(130)
    except (MambaADError, OSError, MemoryError, RuntimeError) as error:
        line = str(error)
        if not isinstance(error, (MambaADError, OSError)):
            if not is_out_of_memory(error):
                raise
            line = NO_MEMORY
        print(f"mambaad: {printable(line)}", file=sys.stderr)
        sys.exit(1)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what a terminal's encoding lacks, such as the bytes of names that are no UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    odd = printable(error.object[error.start : error.end])
    return odd.encode("ascii", "backslashreplace").decode(), error.end
