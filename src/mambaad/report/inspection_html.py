"""A page on any number of inspected images: summary, histograms, and a gallery to filter.

The page's data are in it, its pictures beside it, loaded as they come into view; it needs no
network. Scripts only ever set text, so that no name of a file can become part of the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from matplotlib.figure import Figure

from mambaad.report.run_html import svg_of, templates

PICTURES = "pictures"
_SCORES, _THRESHOLDS = "#2a78a5", "#c4472b"


@dataclass(frozen=True)
class Card:
    """An image of the gallery.

    ``picture``: the file beside the page, image and heatmap side by side; None if there is none.
    ``level``: the score, as a multiple of what makes a part fail; the order of the gallery.
    ``truth``: what the data set says of it, if it does. ``explanation``: sentences;
    ``explained``: a further picture.
    """

    name: str
    product: str
    verdict: str
    score: float | None
    level: float | None
    percentile: float | None
    reason: str
    truth: str | None = None
    picture: str | None = None
    explanation: Sequence[str] = ()
    explained: str | None = None


@dataclass(frozen=True)
class ClassSummary:
    """A class of the page: its thresholds and the scores they were set on, if it has them."""

    calibration: Sequence[float] = ()
    review: float | None = None
    fail: float | None = None
    scores: Sequence[float] = ()


@dataclass(frozen=True)
class Gallery:
    """What the page shows. ``facts``: names and values. ``tables``: by title, a heading first.

    ``is_calibrated``: whether the model gives verdicts, of whatever class.
    """

    title: str
    facts: Mapping[str, str]
    tables: Mapping[str, Sequence[Sequence[str]]]
    classes: Mapping[str, ClassSummary]
    cards: Sequence[Card] = field(default_factory=list)
    is_calibrated: bool = False


def gallery_page(gallery: Gallery) -> str:
    """The page as HTML text; the same input gives the same text."""
    cards = [asdict(card) for card in gallery.cards]
    # In a script element nothing but "</" ends it, and "<!--" changes how it is read.
    data = json.dumps(cards, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    plots = {name: _histogram(c) for name, c in gallery.classes.items() if len(c.scores)}
    return (
        templates()
        .get_template("gallery.html")
        .render(gallery=gallery, data=data, plots=plots, count=len(cards))
    )


def _histogram(c: ClassSummary) -> str:
    values = [*c.calibration, *c.scores, *(v for v in (c.review, c.fail) if v is not None)]
    bins = np.linspace(min(values), max(max(values), min(values) + 1e-6), 31).tolist()
    figure = Figure(figsize=(3.8, 2.1), layout="constrained")
    axes = figure.subplots()
    # Shares, not counts: thousands are inspected, and a few dozen were calibrated on.
    shares = np.full(len(c.scores), 1 / len(c.scores))
    label = f"inspected ({len(c.scores)})"
    axes.hist(c.scores, bins, weights=shares, color=_SCORES, alpha=0.8, label=label)
    if len(c.calibration):
        shares = np.full(len(c.calibration), 1 / len(c.calibration))
        label = f"calibration ({len(c.calibration)})"
        axes.hist(c.calibration, bins, weights=shares, histtype="step", color="black", label=label)
    for value, style in ((c.review, ":"), (c.fail, "--")):
        if value is not None:
            axes.axvline(value, color=_THRESHOLDS, linestyle=style, linewidth=1.2)
    axes.set_xlabel("image score (dotted: REVIEW, dashed: FAIL)" if c.fail else "image score")
    axes.set_ylabel("share of images")
    # Above the plot: the thresholds lie where there is most room in it.
    figure.legend(frameon=False, fontsize=7, loc="outside upper left", ncols=2)
    return svg_of(figure)
