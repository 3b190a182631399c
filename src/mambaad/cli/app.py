"""The ``mambaad`` command: its sub-commands, its version, and how errors are shown."""

from __future__ import annotations

import atexit
import codecs
import io
import logging
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
    planning,
    registry,
    review,
    serve,
    shards,
    training,
    watching,
)
from mambaad.cli.commands import App
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import InterruptibleGroup, again
from mambaad.cli.output import show
from mambaad.errors import MambaADError, ToldError
from mambaad.files import printable
from mambaad.process import is_out_of_memory, wait_passively
from mambaad.progress import verbosity

_log = logging.getLogger(__name__)

app = App(
    "Multi-class visual anomaly detection: train on good parts, find defects.",
    cls=InterruptibleGroup,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)

COMMANDS = {
    "First commands, in this order": (
        demo.demo,
        training.train,
        inspecting.evaluate,
        inspecting.calibrate,
        inspecting.predict,
    ),
    "Models": (models.info, training.extend, training.import_checkpoint),
    "Production": (
        shards.inspect,
        watching.watch,
        planning.plan,
        models.bundle,
        exporting.export,
        models.keygen,
        inspecting.monitor,
        review.recalibrate,
    ),
    "Data sets": (data.make_data,),
    "Research": (benchmark.benchmark, benchmark.profile),
}
GROUPS = {
    "Production": {"registry": registry.app, "serve": serve.app},
    "Data sets": {"data": data.app},
}
"""What the help lists, by the titles of its panels; groups come last in theirs."""

for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
    for name, group in GROUPS.get(panel, {}).items():
        app.add_typer(group, name=name, rich_help_panel=panel)


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
    """Run the command line; every error that a user can cause is one line and an exit code."""
    wait_passively()
    codecs.register_error("mambaad", _escape)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # all is done then
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mambaad")
    with verbosity("normal"):
        try:
            app()
        except KeyboardInterrupt:  # before a command began
            show(f"mambaad: interrupted; again with: {again()}", err=True)
            sys.exit(ExitCode.INTERRUPTED)
        except (MambaADError, OSError, MemoryError, RuntimeError) as error:
            _log.debug("where the error arose:", exc_info=error)  # with --verbose
            if isinstance(error, ToldError):
                sys.exit(ExitCode.FAILED)
            line = str(error)
            if not isinstance(error, (MambaADError, OSError)):
                if not is_out_of_memory(error):
                    raise
                line = NO_MEMORY
            print(f"mambaad: {printable(line)}", file=sys.stderr)
            sys.exit(ExitCode.FAILED)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape what a terminal's encoding lacks, such as the bytes of names that are no UTF-8."""
    assert isinstance(error, UnicodeEncodeError)
    odd = printable(error.object[error.start : error.end])
    return odd.encode("ascii", "backslashreplace").decode(), error.end
