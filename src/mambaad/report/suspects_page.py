"""The page of suspected training images: one file, to look through before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mambaad.data.exclusion import relative_name
from mambaad.data.images import read_sample_image
from mambaad.inspection.overlay import heatmap_overlay
from mambaad.report.run_rendering import picture, svg_of, templates
from mambaad.training.suspects import ScoredClass

MOST = 100
"""Images of a class that are shown, the most suspect first: the page holds their pictures."""
_UNSUSPECTED = 12  # shown after the suspects, to see where they begin
_SIDE = 256  # of each picture, in pixels
_GOOD, _THRESHOLD = "#2a78a5", "#c4472b"


@dataclass(frozen=True)
class Card:
    """One image of the page; ``image`` and, with its heatmap, ``overlay`` are data URLs."""

    name: str
    score: float
    is_suspect: bool
    image: str
    overlay: str


@dataclass(frozen=True)
class Section:
    """One class of the page; ``count`` and ``suspects`` are numbers of images."""

    name: str
    count: int
    suspects: int
    plot: str
    cards: Sequence[Card]


def suspects_page(
    title: str, facts: Mapping[str, str], classes: Sequence[ScoredClass], root: Path
) -> str:
    """Render the page as HTML, with everything it needs inside.

    Args:
        title: heading of the page.
        facts: names and values below it, in order.
        classes: with their scores. Of each the suspects are shown and some images that follow,
            at most ``MOST``.
        root: the folder of the data set, to which the images' names are relative.

    Raises:
        DataError: an image that cannot be read.
    """
    sections = [
        Section(c.name, len(c.samples), int(c.suspects.sum()), _histogram(c), _cards(c, root))
        for c in classes
    ]
    page = templates().get_template("suspects.html")
    return page.render(title=title, facts=facts, sections=sections)


def _cards(c: ScoredClass, root: Path) -> list[Card]:
    shown = min(int(c.suspects.sum()) + _UNSUSPECTED, len(c.samples), MOST)
    # The threshold is the middle of the colours, as on the pages of inspections.
    bounds = (c.median, max(2 * c.threshold - c.median, c.median + 1e-6))
    cards = []
    for i, sample in enumerate(c.samples[:shown]):
        image = Image.fromarray(read_sample_image(sample))
        image.thumbnail((_SIDE, _SIDE))
        pixels = np.asarray(image)
        overlay = heatmap_overlay(pixels, c.maps[i], bounds)
        name = relative_name(sample.path, root)
        urls = picture(pixels), picture(overlay)
        cards.append(Card(name, float(c.scores[i]), bool(c.suspects[i]), *urls))
    return cards


def _histogram(c: ScoredClass) -> str:
    values = c.scores.tolist()
    bins = np.linspace(min(values), max(max(values), min(values) + 1e-6), 41).tolist()
    figure = Figure(figsize=(5.2, 1.9), layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins, color=_GOOD)
    axes.axvline(c.threshold, color=_THRESHOLD, linestyle="--", linewidth=1.2)
    axes.set_xlabel("score (dashed: threshold)")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return svg_of(figure)
