"""The page of suspected training images: one file, to look through before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.exclusion import relative_name
from mambaad.data.images import read_sample_image
from mambaad.report.look import templates
from mambaad.report.pictures import Shot, shot_inside
from mambaad.report.plots import histogram
from mambaad.training.suspects import ScoredClass

MOST = 100
"""Images of a class that are shown, the most suspect first: the page holds their pictures."""
_UNSUSPECTED = 12  # shown after the suspects, to see where they begin
_SIDE = 384  # of each picture, in pixels


@dataclass(frozen=True)
class Card:
    """One image of the page; ``times``: its score, as a multiple of the threshold."""

    name: str
    score: float
    is_suspect: bool
    times: float
    shot: Shot


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
    suspects, images = (sum(getattr(s, name) for s in sections) for name in ("suspects", "count"))
    lead = f"{suspects} of {images} training images look unlike the others of their class."
    return page.render(title=title, lead=lead, facts_of_data=facts, sections=sections)


def _cards(c: ScoredClass, root: Path) -> list[Card]:
    shown = min(int(c.suspects.sum()) + _UNSUSPECTED, len(c.samples), MOST)
    # The threshold is the middle of the colours, as on the pages of inspections.
    above = max(c.threshold - c.median, 5e-7)
    bounds = (c.median, c.median + 2 * above)
    cards = []
    for i, sample in enumerate(c.samples[:shown]):
        shot = shot_inside(read_sample_image(sample), c.maps[i], bounds, side=_SIDE)
        name, score = relative_name(sample.path, root), float(c.scores[i])
        cards.append(Card(name, score, bool(c.suspects[i]), (score - c.median) / above, shot))
    return cards


def _histogram(c: ScoredClass) -> str:
    return histogram(
        [("images", c.scores.tolist(), False)],
        [("threshold", c.threshold)],
        xlabel="score",
        bins=41,
        size=(5.2, 2.2),
    )
