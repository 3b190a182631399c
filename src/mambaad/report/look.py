"""What all pages share: the templates' environment, and plots that follow a page's colours."""

from __future__ import annotations

import hashlib
import io
import re

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

from mambaad.files import printable
from mambaad.inspection.overlay import colour_stops

SERIES, MARK, INK = "#2a78a5", "#c4472b", "#010203"
"""Colours of plots: of data and good parts, of thresholds and defects, of axes and words.

Distinguishable with colour blindness. On a page they become those of its light or dark mode.
"""
_ON_PAGES = {SERIES: f"var(--series, {SERIES})", MARK: f"var(--mark, {MARK})", INK: "currentColor"}


def templates(package: str = "mambaad.report") -> jinja2.Environment:
    """Load a package's pages; all values are escaped, and a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["ramp"] = _ramp()
    return environment


def _shown(value: object) -> object:
    """Make text printable, but for what is safe HTML already."""
    return printable(value) if type(value) is str else value


def _ramp() -> str:
    """The heatmap's colours from low to high, as a gradient of CSS."""
    stops = (
        f"rgb({red} {green} {blue} / {alpha:.2f})" for red, green, blue, alpha in colour_stops(9)
    )
    return f"linear-gradient(to right, {', '.join(stops)})"


def svg_of(figure: Figure) -> str:
    """Render a figure as SVG to embed in a page; the same figure gives the same text."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for written in figure.findobj(Text):
        if (name := printable(written.get_text())) != written.get_text():  # SVG is XML
            written.set_text(name)
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "mambaad", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def themed_svg(figure: Figure) -> str:
    """As :func:`svg_of`, on the page's ground, in its colours, light or dark.

    It has no name of its own: the element around it says what it shows.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
        axes.tick_params(which="both", color=INK, labelcolor=INK)
        axes.spines[:].set_color(INK)
    for written in figure.findobj(Text):
        written.set_color(INK)
    svg = svg_of(figure)
    for colour, on_page in _ON_PAGES.items():
        svg = svg.replace(colour, on_page)
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    # A page has several plots, but an id once: groups need none, others get a name of their own.
    own = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}", svg)
