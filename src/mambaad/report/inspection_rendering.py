"""The HTML of an inspection page: summary, histograms, and a gallery with filters.

The page holds its data; its pictures lie beside it and load as they come into view. It needs no
network. Scripts only set text, so that a file name cannot become markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mambaad.files import printable
from mambaad.report.look import templates
from mambaad.report.pictures import Shot
from mambaad.report.plots import histogram

_OWN = ("shot", "near", "scales")  # addresses that this package made


@dataclass(frozen=True)
class Card:
    """One image of the gallery.

    ``shot``: its picture and layers, paths relative to the page; None if not available.
    ``severity``: the score on a scale of its class, 0 at good parts' median, 1 at the FAIL
    threshold; the gallery is sorted by it. ``truth``: the label of the data set; None without one.
    ``outcome``: what the verdict is worth, given the label, in the words of
    :mod:`mambaad.report.words`; "" without. ``what``, ``where``, ``sure``: plain words.
    ``details``: sentences. ``near``, ``scales``: pictures of an explanation, each with its words.
    """

    name: str
    product: str
    verdict: str
    score: float | None
    severity: float | None
    what: str = ""
    where: str = ""
    sure: str = ""
    outcome: str = ""
    truth: str | None = None
    shot: Shot | None = None
    details: Sequence[str] = ()
    near: str = ""
    near_words: str = ""
    scales: str = ""
    scales_words: str = ""


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

    ``lead``: what came out, in a sentence. ``facts``: names and values, in order. ``tables``: rows
    by title, the header row first. ``warnings``: sentences on what is not as it should be.
    ``hint``: how to calibrate, of a model that gives no verdicts.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    tables: Mapping[str, Sequence[Sequence[str]]]
    classes: Mapping[str, ClassSummary]
    cards: Sequence[Card] = field(default_factory=list)
    warnings: Sequence[str] = ()
    hint: str = ""


def gallery_page(gallery: Gallery) -> str:
    """Render the page as HTML; the same input gives the same text."""
    # What a script shows passes no template.
    cards = [
        {name: value if name in _OWN else _shown(value) for name, value in asdict(card).items()}
        for card in gallery.cards
    ]
    # In a script element "</" would end the data, and "<!--" change how they are parsed.
    data = json.dumps(cards, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    plots = {
        name: _histogram(summary)
        for name, summary in gallery.classes.items()
        if len(summary.scores)
    }
    page = templates().get_template("inspection.html")
    return page.render(
        gallery=gallery,
        data=data,
        plots=plots,
        has_truth=any(card.truth is not None for card in gallery.cards),
        has_masks=any(card.shot is not None and card.shot.truth for card in gallery.cards),
    )


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return [printable(line) for line in value] if isinstance(value, (list, tuple)) else value


def _histogram(summary: ClassSummary) -> str:
    groups: list[tuple[str, Sequence[float], bool]] = [("inspected", summary.scores, False)]
    if len(summary.calibration):
        groups.append(("good parts of the calibration", summary.calibration, True))
    named = (("REVIEW", summary.review), ("FAIL", summary.fail))
    thresholds = [(name, value) for name, value in named if value is not None]
    # Shares, not counts: thousands of images are inspected, but a few dozen calibrated on.
    return histogram(groups, thresholds, as_shares=True)
