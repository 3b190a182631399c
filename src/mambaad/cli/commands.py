"""How commands are declared: their help in one vocabulary, and the options that all of them have.

Placeholders of values are in upper case (PATH, INT, TEXT), flags have none, and commands stand in
panels, in the order of the work.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from mambaad.progress import Verbosity, show_progress

_PLACEHOLDERS = (
    (r"\b(PATH|FILE|DIRECTORY)\b|<(list\[)?(path|file|directory)\]?>", "PATH"),
    (r"\bINTEGER( RANGE)?\b|<int( range)?>|<list\[int\]>", "INT"),
    (r"\bFLOAT RANGE\b|<(list\[)?float( range)?\]?>", "FLOAT"),
    (r"<(list\[)?str\]?>", "TEXT"),
    (r" (BOOLEAN\b|<bool>)", ""),
)
"""What versions of Typer call the kinds of values, and what our help does."""


def _placed(name: str, *, is_argument: bool) -> str:
    """A parameter's name in the help, with its placeholder; an argument's name is one already."""
    if is_argument:
        return re.sub(r" (<[^>]+>|\[[a-z ]+\])", "", name)
    for pattern, placeholder in _PLACEHOLDERS:
        name = re.sub(pattern, placeholder, name)
    return name


Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose help has upper-case placeholders."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: D102
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: D102
        _format_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """Commands, listed in panels (``rich_help_panel``) in the order in which they were added."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: D102
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: D102
        _format_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: D102
        panels: dict[str, list[tuple[str, str]]] = {}
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        for name in names:
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                title = panel if isinstance(panel, str) else "Commands"
                row = name, command.get_short_help_str(limit)
                panels.setdefault(title, []).append(row)
        widest = max(map(len, names))
        for title, rows in panels.items():
            with formatter.section(title):  # of one width, so that all panels line up
                formatter.write_dl([(name.ljust(widest), text) for name, text in rows])


def _format_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        rows = [
            (_placed(record[0], is_argument=kind == "argument"), record[1])
            for parameter in command.get_params(ctx)
            if parameter.param_type_name == kind and (record := parameter.get_help_record(ctx))
        ]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _chosen(level: Verbosity) -> Callable[[typer.Context, bool], bool]:
    def choose(context: typer.Context, asked: bool) -> bool:
        if asked and not context.resilient_parsing:
            show_progress(level)  # until main() has ended, which says what was wrong
        return asked

    return choose


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print results, warnings and errors alone: no progress, no hints.",
        callback=_chosen("quiet"),
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print details of the work with their time, and where an error arose.",
        callback=_chosen("verbose"),
    ),
]


class App(typer.Typer):
    """A group of commands, each of which has ``--quiet`` and ``--verbose``."""

    def __init__(self, help: str, *, cls: type[Group] = Group, **settings: Any) -> None:
        # Markup would swallow defaults such as [mambaad].
        settings = {"add_completion": False, **settings}
        super().__init__(
            cls=cls, help=help, no_args_is_help=True, rich_markup_mode=None, **settings
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Declare a function as a command, as Typer does."""

        def declare(function: Function) -> Function:
            add: Any = super(App, self).command(name, cls=Command, **settings)
            add(_with_verbosity(function))
            return function

        return declare


def _with_verbosity(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with two more parameters, which their callbacks have dealt with."""

    @functools.wraps(function)
    def command(*args: Any, quiet: bool = False, verbose: bool = False, **named: Any) -> Any:
        return function(*args, **named)

    signature = inspect.signature(function, eval_str=True)
    further = {"quiet": Quiet, "verbose": Verbose}
    parameters = [*signature.parameters.values(), *_parameters(further)]
    changed: Any = command
    changed.__signature__ = signature.replace(parameters=parameters)
    changed.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameters(annotations: dict[str, Any]) -> Iterator[inspect.Parameter]:
    for name, annotation in annotations.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(name, kind, default=False, annotation=annotation)
