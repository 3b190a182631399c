"""``mambaad benchmark`` and ``mambaad profile``: systems compared, and what one costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import again, exit_on_interrupt
from mambaad.cli.options import Threads
from mambaad.cli.output import show
from mambaad.cli.tables import profile_table


def benchmark(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="YAML file of systems, data sets and seeds.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for runs and tables; the same command resumes in it.")
    ],
    threads: Threads = None,
) -> None:
    """Compare systems on data sets. Trains and evaluates each with each seed; writes tables."""
    from mambaad.workflows.benchmark.plan import check_paths, read_plan

    wanted = read_plan(plan)
    check_paths(wanted, out)
    from mambaad.files import locked

    resume = f"interrupted; finished jobs and epochs are kept in {out}; resume with: {again()}"
    with exit_on_interrupt(resume), locked(out, make=True):
        from mambaad.workflows.benchmark.runner import run_plan
        from mambaad.workflows.benchmark.tables import tables, to_markdown, write_tables

        outcomes = run_plan(wanted, out)
        files = write_tables(wanted, outcomes, out)
    show(to_markdown(tables(wanted, outcomes)))
    show("written: " + ", ".join(map(str, files)))
    failed = [outcome.job.title for outcome in outcomes if outcome.problem]
    if failed:
        show(
            f"mambaad: failed: {'; '.join(failed)}; the reasons stand above, and to try these "
            f"again: {again()}",
            err=True,
        )
        raise typer.Exit(ExitCode.FAILED)
    show(f"next: open {out / 'results.html'} in a browser")


def profile(
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags override it.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="mambaad, rd4ad or uniad. [mambaad]")] = None,
    variant: Annotated[str | None, typer.Option(help="base or lite. [base]")] = None,
    encoder: Annotated[str | None, typer.Option(help="timm architecture. [resnet34]")] = None,
    size: Annotated[str | None, typer.Option(help="256, or 224x320. [256]")] = None,
    threads: Threads = None,
) -> None:
    """Measure each module of a system. Parameters, FLOPs and time, on one image."""
    from mambaad.config import make_config
    from mambaad.settings_file import naming_line, read_settings_file

    flags = {"system": system, "variant": variant, "encoder": encoder, "size": size}
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    of_file = read_settings_file(config) if config else {}
    with naming_line(config, of_file.keys() - given.keys()):
        settings = make_config({**of_file, **given})
    from mambaad.workflows.profile import profile as run_profile

    show(profile_table(settings, run_profile(settings)))
