"""An inventory of a data set: counts by class, problems, and notes on what is missing or odd."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mambaad.data.checks import unmasked
from mambaad.data.depth import depth_notes, find_depth, with_reading
from mambaad.data.images import AUTO
from mambaad.data.layouts import find_layout
from mambaad.data.opened import (
    Opened,
    find_twins,
    note_odd_images,
    open_samples,
)
from mambaad.data.polarity import odd_masks
from mambaad.data.readers.base import Layout, closed_problem
from mambaad.data.readers.folders import GOOD_NAMES, MASK_NAMES, MASK_SUFFIXES
from mambaad.data.unread import find_unread, note_unread
from mambaad.data.walk import Unread
from mambaad.errors import DataError
from mambaad.files import printable
from mambaad.types import ProductClass, Reading, Sample

_DEFECTIVE_NAMES = frozenset(
    ["bad", "ng", "nok", "n.i.o.", "nio", "ko", "defect", "defects", "defective", "fail", "reject"]
)
_OF_MASKS = tuple(end for end in MASK_SUFFIXES if end not in ("_defect", "_m"))
"""Ends of names that an image has by mistake only."""


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
    it wrong. ``notes``: what is permitted, but may not be intended. ``unread``: every file below
    the folder that is neither an image nor a mask of a class.
    """

    layout: str
    classes: tuple[ClassCount, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    unread: tuple[Unread, ...] = ()

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
        content = asdict(self)
        for one in content["unread"]:
            one["path"] = printable(one["path"])
        return json.dumps(content, indent=2) + "\n"


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
    classes = chosen.read_classes(
        root, chosen.class_names(root, "train"), "train", found.problems.append
    )
    classes = with_reading(classes, reading)
    unread = find_unread(root, chosen, classes)
    found.problems += [closed_problem(one) for one in unread if one.is_closed]
    found.notes += note_unread(root, unread, classes, found.problems)
    _compare_with_published(chosen, classes, found)
    for c in classes:
        found.notes += note_labels(c)
        _check_masks(c, found)
    if not quick:
        _open_all(classes, reading, found, progress)
    return Inventory(
        chosen.title,
        tuple(map(count_images, classes)),
        tuple(map(printable, found.problems)),
        tuple(map(printable, found.notes)),
        tuple(unread),
    )


def count_images(c: ProductClass) -> ClassCount:
    """Count the images of a class."""

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


def note_labels(c: ProductClass) -> Iterator[str]:
    """Note, in a line each, what the labels of a class leave undefined, or may have wrong."""
    defective = [s for s in c.test if s.is_defective]
    if not c.test:
        yield f"{c.name} has no test images"
    elif not defective or len(defective) == len(c.test):
        share = "only" if defective else "no"
        yield f"{c.name} has {share} defective test images: figures need both"
    for kind, count in Counter(s.defect_type for s in defective).items():
        if kind.strip().lower() in GOOD_NAMES:
            by_case = " (it differs from 'good' by case only)" if kind.lower() == "good" else ""
            yield (
                f"{c.name} has {count} test images of the type '{kind}'{by_case}, which count as "
                "defective; if they are good parts, rename their folder to good, or declare it "
                "(--layout FILE)"
            )
        if kind.strip().lower() in MASK_NAMES:
            yield (
                f"{c.name} has {count} test images of the type '{kind}', which count as defective "
                "parts; if they are masks, declare where those are (--layout FILE)"
            )
    images = (*c.train, *c.test)
    for called, known, are in (("good", GOOD_NAMES, True), ("defective", _DEFECTIVE_NAMES, False)):
        odd = [
            s.path
            for s in images
            if s.is_defective == are
            and s.path.parent.name.lower() in known
            and s.path.parent.name.lower() != s.defect_type.lower()
        ]
        if odd:
            yield (
                f"{c.name} has {len(odd)} {'defective' if are else 'good'} images in sub-folders "
                f"called as those of {called} parts are, {odd[0]} the first: its folder's label "
                "counts"
            )
    stems = {s.path: s.path.stem.lower() for s in images}
    ends = [(path, stem) for path, stem in stems.items() if stem.endswith(MASK_SUFFIXES)]
    names = {(path.parent, stem) for path, stem in stems.items()} if ends else set()
    masks = [
        path
        for path, stem in ends
        if any(
            (path.parent, stem.removesuffix(suffix)) in names
            for suffix in MASK_SUFFIXES
            if stem.endswith(suffix)
        )
    ]
    if masks:
        yield (
            f"{c.name} has {len(masks)} images that seem to be masks of others, {masks[0]} the "
            "first; declare where masks are (--layout FILE, mambaad data guess)"
        )
    lonely = [
        s.path for s in images if s.path.stem.lower().endswith(_OF_MASKS) and s.path not in masks
    ]
    if lonely and 2 * len(lonely) <= len(images):
        yield (
            f"{c.name} has {len(lonely)} images that are called as masks are, {lonely[0]} the "
            "first, without the image that each would be of: they are read as images"
        )
    if defective and not c.has_masks:
        yield f"{c.name} has no masks: image-level figures only"
    among_train = sum(s.is_defective for s in c.train)
    if among_train:
        yield f"{c.name} has {among_train} defective images among {len(c.train)} to train"


def _check_masks(c: ProductClass, to: _Findings) -> None:
    said = "\n".join(to.problems)
    for sample in unmasked(c):
        # Some layouts say it themselves, and know where the mask should be.
        if f"{sample.path} has no mask" not in said:
            to.problems.append(
                f"{sample.path} has no mask, as other defective images of {c.name} have; add it, "
                "or leave the image out"
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
        covers = {one.sample.files[1]: one.cover for one in images if one.cover is not None}
        problems, notes = odd_masks(c.name, list(covers.values()), list(covers))
        to.problems += problems
        to.notes += notes
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
