"""What must be known beside the figures of an evaluation: what they lack, and how far they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mambaad.data.checks import turned_apart
from mambaad.data.polarity import Coverage, coverage, odd_masks
from mambaad.inspection.stream import Observed
from mambaad.metrics.confidence import auroc_interval
from mambaad.metrics.names import MetricValues, Protocol
from mambaad.workflows.pixel_pairs import PixelPair, small_regions

FEW = 10
"""Good or defective test images of a class, below which its figures are said to be uncertain."""


@dataclass
class ClassRemarks:
    """Counts of one class's test images while it is evaluated.

    ``lost``: regions of masks that had no pixel left at the map's size; ``losing``: the first image
    that has some. ``turned``: defective images whose mask has no pixel there. ``covers``: what each
    mask covers, by its file. ``apart``: images that were turned otherwise than their masks.
    """

    good: int = 0
    defective: int = 0
    lost: int = 0
    losing: Path | None = None
    turned: list[Path] = field(default_factory=list)
    covers: dict[Path, Coverage] = field(default_factory=dict)
    apart: list[Path] = field(default_factory=list)

    def add(self, observed: Observed, pair: PixelPair) -> None:
        """Count an image of a data set."""
        sample = observed.item.sample
        assert sample is not None  # evaluation takes data sets only
        self.defective += sample.is_defective
        self.good += not sample.is_defective
        if observed.mask is None or pair.mask is None:
            return
        self.covers[sample.files[1]] = coverage(observed.mask)
        if observed.turned_apart:
            self.apart.append(sample.path)
        self.lost += pair.lost
        if pair.lost and self.losing is None:
            self.losing = sample.path
        if not pair.mask.any():
            self.turned.append(sample.path)

    def notes(
        self, name: str, values: MetricValues, protocol: Protocol, size: tuple[int, int]
    ) -> list[str]:
        """Say, a line each, what a reader of the class's figures should know."""
        notes = []
        at = f"{size[0]} x {size[1]} pixels"
        if self.lost and protocol == "exact":
            notes.append(small_regions(name, self.lost, self.losing, size))
        elif self.lost:
            notes.append(
                f"{name}: {self.lost} regions of masks have no pixel left at {at} and are not in "
                f"the pixel figures, as published ({self.losing} the first)"
            )
        if self.turned and protocol == "ader-paper":
            notes.append(
                f"{name}: {len(self.turned)} defective images count as good, since their masks "
                f"have no pixel left at {at}, as published ({self.turned[0]} the first)"
            )
        elif self.turned:
            notes.append(
                f"{name}: {len(self.turned)} defective images have an empty mask, so all of their "
                f"pixels count as good ({self.turned[0]} the first)"
            )
        problems, odd = odd_masks(name, list(self.covers.values()), list(self.covers))
        notes += [*problems, *odd]
        if self.apart:
            notes.append(turned_apart(name, len(self.apart), self.apart[0]))
        auroc = values["image_auroc"]
        if auroc is not None and min(self.good, self.defective) < FEW:
            low, high = auroc_interval(auroc, self.good, self.defective)
            notes.append(
                f"{name}: few test images, {self.good} good and {self.defective} defective: its "
                f"image AU-ROC of {100 * auroc:.1f} has a 95 % interval of {100 * low:.1f} to "
                f"{100 * high:.1f}"
            )
        return notes

    def reason(self, values: MetricValues, has_masks: bool) -> str:
        """Say why figures are missing; ``""`` where none is."""
        reasons = []
        if not self.good or not self.defective:
            reasons.append(f"no {'defective' if self.good else 'good'} test images")
        if self.defective and not has_masks:
            reasons.append("no masks")
        elif self.defective and values["pixel_auroc"] is None:
            reasons.append(
                "no pixel is "
                + ("good" if any(c.image > 0 for c in self.covers.values()) else "marked")
            )
        return ", ".join(reasons)


def all_notes(
    remarks: Mapping[str, ClassRemarks],
    classes: Mapping[str, MetricValues],
    protocol: Protocol,
    size: tuple[int, int],
) -> tuple[str, ...]:
    """Collect the notes on all classes, in their order."""
    return tuple(
        note
        for name, of_class in remarks.items()
        for note in of_class.notes(name, classes[name], protocol, size)
    )
