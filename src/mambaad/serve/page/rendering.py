"""The templates: one environment, escaping whatever is put in."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context


@cache
def environment() -> Environment:
    """Make the environment; its filters ``number`` and ``percent`` follow the page's language."""
    made = Environment(
        loader=PackageLoader("mambaad.serve.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is an error, not an empty place
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": _number, "percent": _percent, "moment": moment, "plain": plain}
    return made


@pass_context
def _number(context: Context, value: float | None, digits: int = 0) -> str:
    text: str = context["t"].number(value, digits)
    return text


@pass_context
def _percent(context: Context, share: float | None) -> str:
    text: str = context["t"].percent(share)
    return text


def plain(value: float) -> str:
    """Write a number for a field, which takes no separators: 0 and 2.5, not 0.0."""
    return f"{value:.12g}"


def moment(time: str) -> str:
    """Write an ISO time in UTC for those whose browser does not convert it."""
    return f"{time[:19].replace('T', ' ')} UTC"


def render(template: str, **content: Any) -> str:
    """Render a template; the content has at least ``t``, the page's texts."""
    return environment().get_template(template).render(**content)
