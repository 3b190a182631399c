"""``mambaad registry``: which bundle each production line uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mambaad.cli.commands import App
from mambaad.cli.options import RequireSignature
from mambaad.cli.output import show, show_next
from mambaad.cli.tables import aligned

app = App("Keep versions of bundles for each production line.")

Root = Annotated[Path, typer.Option(help="Folder of the registry.", envvar="MAMBAAD_REGISTRY")]
LineName = Annotated[str, typer.Argument(metavar="LINE", help="Name of the production line.")]
_ROOT = Path("mambaad-registry")


@app.command()
def add(
    line: LineName,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle to copy into the registry.")
    ],
    note: Annotated[str, typer.Option(help="What is new in this version.")] = "",
    root: Root = _ROOT,
    require_signature: RequireSignature = None,
) -> None:
    """Add a bundle as the line's next version. It is verified first; promote puts it into use."""
    from mambaad.artifacts.registry import Registry
    from mambaad.workflows.bundle import check_bundle

    version = Registry(root).add(line, bundle, note, check=check_bundle)
    show(f"{line}: version {version.number}, {len(version.classes)} classes")
    show_next("registry", "promote", line, version.number, "--root", root)


@app.command(name="list")
def list_lines(root: Root = _ROOT) -> None:
    """Show every line's versions. The one in use has a star."""
    from mambaad.artifacts.registry import Registry

    rows = [["line", "version", "in use", "added", "classes", "note"]]
    for name, line in Registry(root).lines().items():
        for version in line.versions:
            star = "*" if version.number == line.current else ""
            classes = ", ".join(version.classes)
            rows.append([name, str(version.number), star, version.added, classes, version.note])
    show(aligned(rows, last_is_text=True) if len(rows) > 1 else f"no lines in {root}")


@app.command()
def promote(
    line: LineName,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", help="Number of the version to use.")
    ],
    root: Root = _ROOT,
) -> None:
    """Put a version into use."""
    from mambaad.artifacts.registry import Registry

    Registry(root).promote(line, version)
    show(f"{line}: version {version} is in use")
    show_next("serve", "--registry", root, "--line", line)


@app.command()
def rollback(line: LineName, root: Root = _ROOT) -> None:
    """Return to the version that was in use before."""
    from mambaad.artifacts.registry import Registry

    show(f"{line}: version {Registry(root).rollback(line)} is in use again")


@app.command()
def path(line: LineName, root: Root = _ROOT, require_signature: RequireSignature = None) -> None:
    """Print the path of the bundle in use. It is verified first."""
    from mambaad.artifacts.registry import Registry
    from mambaad.artifacts.snapshot import opened

    bundle = Registry(root).current(line)
    if require_signature:
        with opened(bundle):  # which verifies the signature
            pass
    show(str(bundle))
