"""The HTML of a run's report: one file, with everything it needs inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mambaad.files import printable

_GOOD, _DEFECTIVE = "#2a78a5", "#c4472b"  # distinguishable with colour blindness


@dataclass(frozen=True)
class Example:
    """An inspected test image with its heatmap and score.

    ``image`` and ``overlay``: 8-bit RGB. ``mask``: True on the defect; None for a good part, and if
    the data set has no mask.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    overlay: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"] | None
    is_defective: bool
    score: float


@dataclass(frozen=True)
class Scores:
    """The image scores of a class's test images."""

    good: Sequence[float]
    defective: Sequence[float]


@dataclass(frozen=True)
class Report:
    """The content of a report.

    ``facts``: names and values, in order. ``table``: the metrics as text, the header row first.
    ``losses``: the mean loss of each epoch. ``scores`` and ``examples``: by class.
    """

    title: str
    facts: Mapping[str, str]
    table: Sequence[Sequence[str]]
    losses: Sequence[float]
    scores: Mapping[str, Scores]
    examples: Mapping[str, Sequence[Example]]


def templates(package: str = "mambaad.report") -> jinja2.Environment:
    """Load a package's pages; all values are escaped, and a missing one is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _shown(value: object) -> object:
    """Make text printable, but for what is safe HTML already."""
    return printable(value) if type(value) is str else value


def html_report(report: Report) -> str:
    """Render the report as HTML; the same input gives the same text."""
    environment = templates()
    environment.filters |= {"picture": picture, "mask_picture": _mask_picture}
    plots = {name: _histogram(scores) for name, scores in report.scores.items()}
    return environment.get_template("run.html").render(
        report=report, curve=_curve(report.losses) if report.losses else "", plots=plots
    )


def picture(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    """Encode an image as a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _mask_picture(mask: Bool[np.ndarray, "h w"]) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _histogram(scores: Scores) -> str:
    all_scores = [*scores.good, *scores.defective]
    bins = np.linspace(min(all_scores), max(max(all_scores), min(all_scores) + 1e-6), 25).tolist()
    figure = Figure(figsize=(3.6, 2.0), layout="constrained")
    axes = figure.subplots()
    for name, values, colour in (
        ("good", scores.good, _GOOD),
        ("defective", scores.defective, _DEFECTIVE),
    ):
        axes.hist(values, bins, label=f"{name} ({len(values)})", color=colour, alpha=0.75)
    axes.set_xlabel("image score")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    return svg_of(figure)


def _curve(losses: Sequence[float]) -> str:
    figure = Figure(figsize=(5.2, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, marker="o", markersize=3, color=_GOOD)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return svg_of(figure)


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
