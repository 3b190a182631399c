"""The HTML of an inspection page: summary, histograms, and a gallery with filters.

The page holds its data; its pictures lie beside it and load as they come into view. It needs no
network. Scripts only set text, so that a file name cannot become markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from matplotlib.figure import Figure

from mambaad.files import printable
from mambaad.report.run_rendering import svg_of, templates

_SCORES, _THRESHOLDS = "#2a78a5", "#c4472b"


@dataclass(frozen=True)
class Card:
    """One image of the gallery.

    ``picture``: the image and its heatmap side by side, a path relative to the page; None if not
    available. ``severity``: the score on a scale of its class, 0 at good parts' median, 1 at the
    FAIL threshold; the gallery is sorted by it. ``truth``: the label of the data set; None without
    one. ``explanation``: sentences. ``explained``: the picture of the explanation, or None.
    """

    name: str
    product: str
    verdict: str
    score: float | None
    severity: float | None
    percentile: float | None
    reason: str
    truth: str | None = None
    picture: str | None = None
    explanation: Sequence[str] = ()
    explained: str | None = None


@dataclass(frozen=True)
class ClassSummary:
    """The scores of a class.

    ``calibration``: the scores that ``review`` and ``fail``, its thresholds, were set on; empty and
    None without a calibration. ``scores``: of the inspected images.
    """

    calibration: Sequence[float] = ()
    review: float | None = None
    fail: float | None = None
    scores: Sequence[float] = ()


@dataclass(frozen=True)
class Gallery:
    """The content of the page.

    ``facts``: names and values, in order. ``tables``: rows by title, the header row first.
    ``is_calibrated``: whether the model gives verdicts, for any class.
    """

    title: str
    facts: Mapping[str, str]
    tables: Mapping[str, Sequence[Sequence[str]]]
    classes: Mapping[str, ClassSummary]
    cards: Sequence[Card] = field(default_factory=list)
    is_calibrated: bool = False


def gallery_page(gallery: Gallery) -> str:
    """Render the page as HTML; the same input gives the same text."""
    # What a script shows passes no template; the pictures' paths are this package's own.
    own = ("picture", "explained")
    cards = [
        {
            name: printable(value) if isinstance(value, str) and name not in own else value
            for name, value in {
                **asdict(card),
                "explanation": list(map(printable, card.explanation)),
            }.items()
        }
        for card in gallery.cards
    ]
    # In a script element "</" would end the data, and "<!--" change how they are parsed.
    data = json.dumps(cards, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    plots = {
        name: _histogram(summary)
        for name, summary in gallery.classes.items()
        if len(summary.scores)
    }
    return (
        templates()
        .get_template("inspection.html")
        .render(gallery=gallery, data=data, plots=plots, count=len(cards))
    )


def _histogram(summary: ClassSummary) -> str:
    values = [
        *summary.calibration,
        *summary.scores,
        *(v for v in (summary.review, summary.fail) if v is not None),
    ]
    bins = np.linspace(min(values), max(max(values), min(values) + 1e-6), 31).tolist()
    figure = Figure(figsize=(3.8, 2.1), layout="constrained")
    axes = figure.subplots()
    # Shares, not counts: thousands of images are inspected, but a few dozen calibrated on.
    shares = np.full(len(summary.scores), 1 / len(summary.scores))
    label = f"inspected ({len(summary.scores)})"
    axes.hist(summary.scores, bins, weights=shares, color=_SCORES, alpha=0.8, label=label)
    if len(summary.calibration):
        shares = np.full(len(summary.calibration), 1 / len(summary.calibration))
        label = f"calibration ({len(summary.calibration)})"
        axes.hist(
            summary.calibration, bins, weights=shares, histtype="step", color="black", label=label
        )
    for value, style in ((summary.review, ":"), (summary.fail, "--")):
        if value is not None:
            axes.axvline(value, color=_THRESHOLDS, linestyle=style, linewidth=1.2)
    axes.set_xlabel("image score (dotted: REVIEW, dashed: FAIL)" if summary.fail else "image score")
    axes.set_ylabel("share of images")
    # Above the plot, since within it the legend would cover the thresholds.
    figure.legend(frameon=False, fontsize=7, loc="outside upper left", ncols=2)
    return svg_of(figure)
