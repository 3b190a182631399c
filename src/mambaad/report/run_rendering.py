"""The HTML of a run's report on test images: one file, with everything it needs inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mambaad.report.look import templates
from mambaad.report.pictures import Shot
from mambaad.report.plots import curve, histogram


@dataclass(frozen=True)
class Example:
    """An inspected image as a card shows it.

    ``label``: what the part is, such as ``good`` or a type of defect. ``verdict``, ``what``,
    ``where``, ``sure``, ``outcome``: see :class:`mambaad.report.inspection_rendering.Card`; ""
    without a calibration.
    """

    name: str
    shot: Shot
    label: str
    is_defective: bool
    score: float
    verdict: str = ""
    what: str = ""
    where: str = ""
    sure: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class Scores:
    """The image scores of a class's test images, and its thresholds, if it is calibrated."""

    good: Sequence[float]
    defective: Sequence[float]
    review: float | None = None
    fail: float | None = None


@dataclass(frozen=True)
class Report:
    """The content of a report.

    ``lead``: what came out, in a sentence. ``intro``: what was done, in sentences. ``facts``: names
    and values, in order. ``found``: numbers of defects found and missed, the header row first.
    ``warnings``: sentences. ``mistakes``: missed defects and false alarms; ``mistakes_count``: of
    all, of which those are some. ``new``: parts beyond the test images. ``table``: the metrics as
    text, the header row first. ``losses``: the mean loss of each epoch. ``scores`` and
    ``examples``: by class. ``gallery``: the address of a page with all test images, or "".
    ``next_steps``: commands with what they do.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    table: Sequence[Sequence[str]]
    protocol: str
    losses: Sequence[float]
    scores: Mapping[str, Scores]
    examples: Mapping[str, Sequence[Example]]
    found: Sequence[Sequence[str]]
    intro: Sequence[str] = ()
    warnings: Sequence[str] = ()
    mistakes: Sequence[Example] = ()
    mistakes_count: int = 0
    new: Sequence[Example] = ()
    gallery: str = ""
    next_steps: Mapping[str, str] = field(default_factory=dict)


def html_report(report: Report) -> str:
    """Render the report as HTML; the same input gives the same text."""
    plots = {name: _histogram(scores) for name, scores in report.scores.items()}
    loss = curve(report.losses, "mean loss", log=True) if report.losses else ""
    page = templates().get_template("report.html")
    return page.render(report=report, curve=loss, plots=plots)


def _histogram(scores: Scores) -> str:
    named = (("REVIEW", scores.review), ("FAIL", scores.fail))
    return histogram(
        [("good", scores.good, False), ("defective", scores.defective, True)],
        [(name, value) for name, value in named if value is not None],
        bins=25,
    )
