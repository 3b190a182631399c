"""Checking a data set: what it has, what is missing, what is odd."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mambaad.data.images import read_image, read_mask
from mambaad.data.layouts import find_layout
from mambaad.data.readers.base import Layout
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample


@dataclass(frozen=True)
class ClassCount:
    """How many images a class has of each kind, the defective ones by type."""

    name: str
    train_good: int
    train_defective: Mapping[str, int]
    test_good: int
    test_defective: Mapping[str, int]
    masks: int


@dataclass(frozen=True)
class Inventory:
    """What a data set has.

    ``problems``: what training or evaluating would stop at, or be wrong with.
    ``notes``: what is as it is, but perhaps not known.
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


@dataclass(frozen=True)
class _Look:
    """What opening one image and its mask has shown."""

    sample: Sample
    digest: bytes
    size: tuple[int, int] = (0, 0)
    problem: str = ""
    empty_mask: bool = False


@dataclass
class _Findings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_data(
    root: Path,
    *,
    layout: str | None = None,
    quick: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inventory:
    """Count what a data set has, and look for what is missing or odd.

    Where reading stops at the first thing wrong, this names them all.

    Args:
        root: where the data set is.
        layout: the name of its layout, if the folder is not to be asked.
        quick: look at names only, open no image.
        progress: told of how many of how many images have been opened.

    Raises:
        ConfigError: no layout has that name.
        DataError: there is no data set to be checked.
    """
    root = Path(root)
    chosen = find_layout(root, layout)
    found = _Findings()
    found.notes += chosen.odd(root)
    classes = chosen.read_classes(
        root, chosen.class_names(root, "train"), "train", found.problems.append
    )
    _compare_with_published(chosen, classes, found)
    for c in classes:
        _look_at_labels(c, found)
    if not quick:
        _open_all(classes, found, progress)
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
    missing = [name for name in layout.products if name not in {c.name for c in classes}]
    if missing:
        to.notes.append(
            f"{len(missing)} of the {len(layout.products)} classes of {layout.title} are not "
            f"here: {', '.join(missing)}"
        )


def _look_at_labels(c: ProductClass, to: _Findings) -> None:
    defective = [s for s in c.test if s.is_defective]
    if not c.test:
        to.notes.append(f"{c.name} has no test images")
    elif not defective or len(defective) == len(c.test):
        to.notes.append(
            f"{c.name} has {'only' if defective else 'no'} defective test images: figures need both"
        )
    if defective and not c.has_masks:
        to.notes.append(f"{c.name} has no masks: image-level figures only")
    among_train = sum(s.is_defective for s in c.train)
    if among_train:
        to.notes.append(
            f"{c.name} has {among_train} defective images among {len(c.train)} to train"
        )


def _open_all(
    classes: Sequence[ProductClass], to: _Findings, progress: Callable[[int, int], None]
) -> None:
    total = sum(len(c.train) + len(c.test) for c in classes)
    done = 0
    for c in classes:
        sizes: set[tuple[int, int]] = set()
        empty: list[Sample] = []
        looks: list[_Look] = []
        for look in _looks((*c.train, *c.test)):
            done += 1
            progress(done, total)
            looks.append(look)
            if look.problem:
                to.problems.append(look.problem)
            else:
                sizes.add(look.size)
            if look.empty_mask:
                empty.append(look.sample)
        if len(sizes) > 1:
            smallest, largest = min(sizes), max(sizes)
            to.notes.append(
                f"{c.name} has images of {len(sizes)} sizes (height x width), "
                f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]}"
            )
        if empty:
            to.notes.append(
                f"{c.name} has {len(empty)} defective images whose mask is empty, "
                f"{empty[0].mask_path} the first"
            )
        _look_for_twins(c, looks, to)


def _look_for_twins(c: ProductClass, looks: Sequence[_Look], to: _Findings) -> None:
    first: dict[bytes, Path] = {}
    for look in looks[: len(c.train)]:
        first.setdefault(look.digest, look.sample.path)
    repeated = len(c.train) - len(first)
    if repeated:
        to.notes.append(f"{c.name} has {repeated} training images more than once")
    for look in looks[len(c.train) :]:
        if look.digest in first:
            to.problems.append(
                f"{look.sample.path} is the same image as {first[look.digest]}, which is trained "
                "on; remove one"
            )


def _looks(samples: Sequence[Sample]) -> Iterator[_Look]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from pool.map(_look, samples)
        finally:
            pool.shutdown(cancel_futures=True)


def _look(sample: Sample) -> _Look:
    # What cannot be read is no twin of anything.
    digest = hashlib.sha256(str(sample.path).encode()).digest()
    try:
        content = sample.path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        return _Look(sample, digest, problem=f"{sample.path} cannot be read ({reason})")
    if not content:
        return _Look(sample, digest, problem=f"{sample.path} has no bytes; get it again")
    digest = hashlib.sha256(content).digest()
    try:
        height, width, _ = read_image(sample.path).shape
        if sample.mask_path is None:
            return _Look(sample, digest, (height, width))
        mask = read_mask(sample.mask_path)
    except DataError as error:
        return _Look(sample, digest, problem=str(error))
    problem = ""
    if mask.shape != (height, width):
        problem = (
            f"{sample.mask_path} is {mask.shape[0]} x {mask.shape[1]}, expected {height} x {width} "
            "as its image; make the mask again at the image's size"
        )
    return _Look(sample, digest, (height, width), problem, not mask.any())
