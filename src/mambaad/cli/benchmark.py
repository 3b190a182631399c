"""``mambaad benchmark`` and ``mambaad profile``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer


def benchmark(
    plan: Annotated[Path, typer.Argument(help="YAML file: systems, data sets, seeds.")],
    out: Annotated[Path, typer.Option(help="Folder for runs and tables; a second call goes on.")],
) -> None:
    """Train and evaluate systems x data sets x seeds, and write the tables."""
    from mambaad.workflows.benchmark import read_plan, run_plan
    from mambaad.workflows.benchmark.tables import tables, to_markdown, write_tables

    wanted = read_plan(plan)
    try:
        outcomes = run_plan(wanted, out)
    except KeyboardInterrupt:
        command = ["mambaad", "benchmark", str(plan), "--out", str(out)]
        typer.echo(f"mambaad: interrupted; go on with: {shlex.join(command)}", err=True)
        raise typer.Exit(130) from None
    files = write_tables(wanted, outcomes, out)
    typer.echo(to_markdown(tables(wanted, outcomes)))
    typer.echo("written: " + ", ".join(map(str, files)))
    failed = [o.job.title for o in outcomes if o.problem]
    if failed:
        typer.echo(f"mambaad: failed: {'; '.join(failed)}", err=True)
        raise typer.Exit(1)


def profile(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    system: Annotated[str | None, typer.Option(help="mambaad, rd4ad or uniad. [mambaad]")] = None,
    variant: Annotated[str | None, typer.Option(help="base or lite. [base]")] = None,
    encoder: Annotated[str | None, typer.Option(help="timm architecture. [resnet34]")] = None,
    size: Annotated[str | None, typer.Option(help="256, or 224x320. [256]")] = None,
) -> None:
    """Parameters, arithmetic and time of each part of a system, on one image."""
    from mambaad.cli.tables import profile_table
    from mambaad.config import make_config, read_config_file
    from mambaad.workflows.profile import profile as run_profile

    flags = {"system": system, "variant": variant, "encoder": encoder, "size": size}
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    settings = make_config({**(read_config_file(config) if config else {}), **given})
    typer.echo(profile_table(settings, run_profile(settings)))
