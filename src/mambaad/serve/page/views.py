"""What the templates show of a part: the record and the decision, with texts in one language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mambaad.inspection.records import Record, RegionRecord
from mambaad.serve.page.texts import Texts
from mambaad.types import Verdict

PROBLEMS = (
    "wrong size",
    "under-exposed",
    "over-exposed",
    "too dark",
    "too bright",
    "blurred",
    "noisy",
)
"""How reasons of bad images begin: :meth:`mambaad.inspection.quality.QualityLimits.problem`."""


@dataclass(frozen=True)
class PartView:
    """An inspection as a page shows it.

    ``name``: its serial number, else the end of its id. ``image``, ``heatmap``, ``thumbnail``:
    addresses; None if the image is not kept. ``explained``: the reason for the verdict in the
    page's language. ``size``: width and height of the image. ``holds``: id of the decision that
    holds; empty if there is none. The rest is as recorded.
    """

    id: str
    name: str
    time: str
    verdict: str | None
    explained: str
    record: Record
    serial: str | None = None
    decision: str | None = None
    digest: str | None = None
    bundle: str | None = None
    image: str | None = None
    heatmap: str | None = None
    thumbnail: str | None = None
    holds: str = ""

    def __getattr__(self, name: str) -> Any:
        """Fields of the record, such as ``score``, are those of the part."""
        if name in Record.model_fields:
            return getattr(self.record, name)
        raise AttributeError(name)

    @property
    def word(self) -> str:
        """The verdict, or ``ERROR``, or ``NONE`` of a bundle without a calibration."""
        return self.verdict or ("ERROR" if self.record.error is not None else "NONE")

    @property
    def is_judged(self) -> bool:
        """Whether the verdict is by the score, and not that the image cannot be judged."""
        return self.record.verdict in (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)

    @property
    def regions(self) -> Sequence[RegionRecord]:
        """The suspected defects, worst first."""
        return self.record.regions

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the image, if known."""
        quality = self.record.quality
        return (quality.width, quality.height) if quality else None

    @property
    def differs(self) -> bool:
        """Whether the decision contradicts the verdict: a good part failed, or a defect passed."""
        return (self.decision, self.verdict) in (("good", "FAIL"), ("defective", "PASS"))


def part_view(
    t: Texts,
    id: str,
    record: Record,
    *,
    time: str,
    serial: str | None = None,
    decision: str | None = None,
    digest: str | None = None,
    bundle: str | None = None,
    has_image: bool = False,
    has_heatmap: bool = False,
    has_thumbnail: bool = False,
    holds: str | None = None,
) -> PartView:
    """Make the view of an inspection."""
    return PartView(
        id,
        serial or id[-10:],
        time,
        record.verdict.value if record.verdict else None,
        explained(t, record),
        record,
        serial,
        decision,
        digest,
        bundle,
        f"/pictures/{id}" if has_image else None,
        f"/heatmaps/{id}" if has_heatmap else None,
        f"/thumbnails/{id}" if has_thumbnail else None,
        holds or "",
    )


def explained(t: Texts, record: Record) -> str:
    """Say why a part got its verdict, in the page's language."""
    if record.error is not None:
        return t("why.ERROR")
    if record.verdict is None:
        return t("why.uncalibrated")
    if record.verdict is Verdict.PASS:
        return t("why.PASS_small" if record.reason else "why.PASS")
    if record.verdict is Verdict.BAD_IMAGE:
        problem = next((p for p in PROBLEMS if record.reason.startswith(p)), "other")
        return t("why.BAD IMAGE", problem=t(f"problem.{problem}"))
    peak = record.regions[0].peak if record.regions else record.score
    return t(f"why.{record.verdict.value}", peak=t.number(peak, 4))
