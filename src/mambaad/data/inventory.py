"""An inventory of a data set: counts by class, problems, and notes on what is missing or odd."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mambaad.data.checks import unmasked
from mambaad.data.depth import depth_notes, find_depth, with_reading
from mambaad.data.images import AUTO
from mambaad.data.layouts import find_layout
from mambaad.data.opened import (
    Opened,
    find_twins,
    inverted_masks,
    note_odd_images,
    open_samples,
)
from mambaad.data.readers.base import Layout
from mambaad.errors import DataError
from mambaad.types import ProductClass, Reading, Sample


@dataclass(frozen=True)
class ClassCount:
    """Counts of a class's images of each kind, the defective ones by type."""

    name: str
    train_good: int
    train_defective: Mapping[str, int]
    test_good: int
    test_defective: Mapping[str, int]
    masks: int


@dataclass(frozen=True)
class Inventory:
    """Counts of a data set's images, and a line for each finding.

    ``layout``: the layout's title. ``problems``: what would stop training or evaluation, or make
    it wrong. ``notes``: what is permitted, but may not be intended.
    """

    layout: str
    classes: tuple[ClassCount, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def to_rows(self) -> list[list[str]]:
        """A header, a row for each class, and one of sums."""
        rows = [["class", "train", "test good", "test defective", "masks", "types"]]
        sums = [0, 0, 0, 0]
        for c in self.classes:
            numbers = [
                c.train_good + sum(c.train_defective.values()),
                c.test_good,
                sum(c.test_defective.values()),
                c.masks,
            ]
            sums = [total + number for total, number in zip(sums, numbers, strict=True)]
            kinds = ", ".join(f"{kind} {count}" for kind, count in c.test_defective.items())
            rows.append([c.name, *map(str, numbers), kinds])
        return [*rows, ["all", *map(str, sums), ""]]

    def to_json(self) -> str:
        """Everything, as a JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass
class _Findings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_data(
    root: Path,
    *,
    layout: str | None = None,
    quick: bool = False,
    reading: Reading = AUTO,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inventory:
    """Count the images of a data set, and find everything that is missing or odd.

    Reading for training stops at the first problem; this names them all.

    Args:
        root: where the data set is.
        layout: the name of its layout; recognised from the folder without it.
        quick: check names only; open no image.
        reading: how pixels are read; a bit depth that is not given is decided by all images.
        progress: called with the number of images opened and their total.

    Raises:
        ConfigError: no layout has that name.
        DataError: there is no data set at ``root``.
    """
    root = Path(root)
    chosen = find_layout(root, layout)
    found = _Findings()
    found.notes += chosen.odd(root)
    classes = chosen.read_classes(
        root, chosen.class_names(root, "train"), "train", found.problems.append
    )
    classes = with_reading(classes, reading)
    _compare_with_published(chosen, classes, found)
    for c in classes:
        _check_labels(c, found)
    if not quick:
        _open_all(classes, reading, found, progress)
    return Inventory(
        chosen.title, tuple(map(_count, classes)), tuple(found.problems), tuple(found.notes)
    )


def _count(c: ProductClass) -> ClassCount:
    def kinds(samples: Sequence[Sample]) -> dict[str, int]:
        return dict(sorted(Counter(s.defect_type for s in samples if s.is_defective).items()))

    train_defective, test_defective = kinds(c.train), kinds(c.test)
    return ClassCount(
        c.name,
        len(c.train) - sum(train_defective.values()),
        train_defective,
        len(c.test) - sum(test_defective.values()),
        test_defective,
        sum(s.mask_path is not None for s in c.test),
    )


def _compare_with_published(layout: Layout, classes: Sequence[ProductClass], to: _Findings) -> None:
    published = layout.published_classes
    missing = [name for name in published if name not in {c.name for c in classes}]
    if missing:
        to.notes.append(
            f"{len(missing)} of the {len(published)} classes of {layout.title} are not "
            f"here: {', '.join(missing)}"
        )


def _check_labels(c: ProductClass, to: _Findings) -> None:
    defective = [s for s in c.test if s.is_defective]
    if not c.test:
        to.notes.append(f"{c.name} has no test images")
    elif not defective or len(defective) == len(c.test):
        to.notes.append(
            f"{c.name} has {'only' if defective else 'no'} defective test images: figures need both"
        )
    if defective and not c.has_masks:
        to.notes.append(f"{c.name} has no masks: image-level figures only")
    said = "\n".join(to.problems)
    for sample in unmasked(c):
        # Some layouts say it themselves, and know where the mask should be.
        if f"{sample.path} has no mask" not in said:
            to.problems.append(
                f"{sample.path} has no mask, as other defective images of {c.name} have; add it, "
                "or leave the image out"
            )
    among_train = sum(s.is_defective for s in c.train)
    if among_train:
        to.notes.append(
            f"{c.name} has {among_train} defective images among {len(c.train)} to train"
        )


def _open_all(
    classes: Sequence[ProductClass],
    reading: Reading,
    to: _Findings,
    progress: Callable[[int, int], None],
) -> None:
    highest: dict[str, list[int]] = {}
    total = sum(len(c.train) + len(c.test) for c in classes)
    done = 0
    for c in classes:
        images: list[Opened] = []
        for opened in open_samples((*c.train, *c.test)):
            done += 1
            progress(done, total)
            images.append(opened)
            if opened.problem:
                to.problems.append(opened.problem)
        to.notes += note_odd_images(c.name, images)
        covered = [opened.covered for opened in images if opened.covered is not None]
        if inverted := inverted_masks(c.name, covered):
            to.problems.append(inverted)
        tops = [opened.highest for opened in images if opened.highest is not None]
        if tops:
            highest[c.name] = tops
        problems, notes = find_twins(c, images)
        to.problems += problems
        to.notes += notes
    if highest:
        try:
            to.notes += depth_notes(highest, find_depth(highest))
        except DataError as error:
            to.problems.append(str(error))
