"""``mambaad serve``: the inspection service, its audit trail, and its users."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mambaad.cli.commands import App, Group
from mambaad.cli.exit_codes import ExitCode
from mambaad.cli.interrupts import exit_on_interrupt
from mambaad.cli.output import show
from mambaad.errors import ConfigError

_RUN = "run"


class _Group(Group):
    """``mambaad serve BUNDLE`` is short for ``mambaad serve run BUNDLE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


app = App("Run an inspection service: mambaad serve BUNDLE.", cls=_Group)
user = App("Manage who may log in.")
app.add_typer(user, name="user")

Data = Annotated[Path, typer.Option(help="Folder of everything that the service keeps.")]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="URL of a PostgreSQL database, postgresql://... [SQLite in --data]"
    ),
]
_DATA = Path("mambaad-data")


@app.command(name=_RUN)
def run(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle, or run folder, to inspect with."),
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Folder of a registry, instead of a bundle.")
    ] = None,
    line: Annotated[str | None, typer.Option(help="The line in the registry.")] = None,
    data: Data = _DATA,
    database: Database = None,
    host: Annotated[
        str, typer.Option(help="Address; others than 127.0.0.1 need --token-file or users.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
    mode: Annotated[
        str,
        typer.Option(
            help="latency: one process with all cores; throughput: one process for each core."
        ),
    ] = "latency",
    workers: Annotated[
        int | None, typer.Option(help="Number of inference processes. [by --mode]")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto: a GPU if there is one.")] = (
        "auto"
    ),
    precision: Annotated[str, typer.Option(help="float32, or bfloat16.")] = "float32",
    queue: Annotated[int, typer.Option(help="Parts in work or waiting; more are refused.")] = 64,
    part_seconds: Annotated[
        float, typer.Option(help="Seconds that a part may take before it is tried again.")
    ] = 60.0,
    worker_growth_mb: Annotated[
        float, typer.Option(help="Replace an inference process that grows by more MiB.")
    ] = 2048.0,
    max_bytes: Annotated[int, typer.Option(help="Bytes of an upload at most.")] = 32 * 2**20,
    max_pixels: Annotated[
        int | None, typer.Option(help="Refuse images with more pixels. [as in training]")
    ] = None,
    rate: Annotated[float, typer.Option(help="Parts a second of one client at most.")] = 200.0,
    keep: Annotated[
        str, typer.Option(help="Images to keep: all, not-pass, or share (and not-pass).")
    ] = "all",
    keep_share: Annotated[
        float, typer.Option(help="Share of passed parts that --keep share keeps.")
    ] = 0.1,
    keep_days: Annotated[float | None, typer.Option(help="Remove images after so many days.")] = (
        None
    ),
    keep_gb: Annotated[
        float | None, typer.Option(help="Remove the oldest images beyond so many GB.")
    ] = None,
    review_share: Annotated[
        float, typer.Option(help="Random share of all parts that people look at.")
    ] = 0.02,
    min_free_mb: Annotated[
        float, typer.Option(help="Refuse parts when less of the disk is free.")
    ] = 100.0,
    token_file: Annotated[
        Path | None, typer.Option(help="File of tokens: lines of 'role name token'.")
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(help="Address of a proxy, whose X-Forwarded headers are believed."),
    ] = None,
    watch: Annotated[Path | None, typer.Option(help="Inspect new images of this folder.")] = None,
    watch_then: Annotated[
        str, typer.Option(help="What happens to them then: leave, or move.")
    ] = "leave",
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Post each inspection to this URL.")
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(help="Publish each inspection to this broker, mqtt://HOST or mqtts://HOST."),
    ] = None,
    mqtt_topic: Annotated[
        str, typer.Option(help="Prefix of the topics: PREFIX/inspections, PREFIX/status.")
    ] = "mambaad",
    opcua: Annotated[
        str | None,
        typer.Option(help="Write each inspection to this OPC UA server, opc.tcp://HOST:PORT."),
    ] = None,
    opcua_node: Annotated[
        str, typer.Option(help="Ids of the server's nodes; {name} stands for Id, Verdict, ...")
    ] = "ns=2;s=MambaAD.{name}",
    secrets_file: Annotated[
        Path | None,
        typer.Option(help="YAML file of users, passwords and certificates for the three above."),
    ] = None,
) -> None:
    """Run the service. Stop it with Ctrl-C: what was accepted is finished first."""
    given = dict(locals())
    with exit_on_interrupt():
        _needs_extra()
        from mambaad.serve.run import serve
        from mambaad.serve.settings import make_settings

        serve(make_settings(**given))


@app.command()
def verify(
    data: Data = _DATA,
    database: Database = None,
    head: Annotated[
        str | None, typer.Option(help="A last hash that was noted before; it must be in the trail.")
    ] = None,
) -> None:
    """Verify the audit trail and every row that it covers. Exit code 3 if one was changed."""
    _needs_extra()
    from mambaad.serve.settings import ServeSettings
    from mambaad.serve.store import audit
    from mambaad.serve.store.database import existing

    with existing(ServeSettings(data=data, database=database).database_url) as engine:
        found = audit.verify(engine, head)
    show(f"{found.rows} rows hold; the last hash is {found.head}")
    if found.problem:
        show(f"mambaad: {found.problem}", err=True)
        raise typer.Exit(ExitCode.ALARM)


@user.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name to log in with.")],
    role: Annotated[
        str, typer.Option(help="viewer: looks; reviewer: decides; engineer: settings and bundles.")
    ] = "reviewer",
    data: Data = _DATA,
    database: Database = None,
) -> None:
    """Add a user, or change one. Asks for the password, or reads it from standard input."""
    _needs_extra()
    from mambaad.serve.auth import ROLES, hash_password

    if role not in ROLES:
        raise ConfigError(f"--role: expected one of {', '.join(ROLES)}, got {role!r}")
    if not name.isprintable() or not 1 <= len(name) <= 100:
        raise ConfigError("NAME: expected 1 to 100 printable characters")
    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    hashed = hash_password(password)
    store = _store(data, database)
    try:
        store.put_user(name, role, hashed, actor="command line").result()
    finally:
        store.close()
    show(f"{name} is {role}")


@user.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")],
    data: Data = _DATA,
    database: Database = None,
) -> None:
    """Remove a user, whose sessions end."""
    _needs_extra()
    store = _store(data, database, is_there=True)
    try:
        store.remove_user(name, actor="command line").result()
    finally:
        store.close()
    show(f"{name} was removed")


@user.command(name="list")
def list_users(data: Data = _DATA, database: Database = None) -> None:
    """Show the users and their roles."""
    from mambaad.cli.tables import aligned

    _needs_extra()
    store = _store(data, database, is_there=True)
    try:
        rows = [[row["name"], row["role"], row["at"]] for row in store.users()]
    finally:
        store.close()
    show(aligned([["name", "role", "since"], *rows]) if rows else "no users")


def _store(data: Path, database: str | None, *, is_there: bool = False) -> Any:
    from mambaad.serve.settings import ServeSettings
    from mambaad.serve.store.database import existing
    from mambaad.serve.store.store import Store

    settings = ServeSettings(data=data, database=database)
    if is_there:  # or else it would be created
        with existing(settings.database_url):
            pass
    return Store(settings.data, settings.database_url)


def _needs_extra() -> None:
    """Say what to install (ConfigError) where the service's libraries are missing."""
    try:
        import alembic  # noqa: F401
        import argon2  # noqa: F401
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"mambaad serve needs {error.name}; run pip install 'mambaad[serve]'"
        ) from error
