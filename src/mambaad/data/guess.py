"""A proposal of how a folder of images may be read, from the names that are in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mambaad.data.readers import anomalib_folder
from mambaad.data.readers.described import Description
from mambaad.data.readers.folders import GOOD_NAMES, MASK_NAMES, MASK_SUFFIXES
from mambaad.data.walk import walk
from mambaad.errors import DataError
from mambaad.types import ProductClass

_TRAIN = frozenset(["train", "training", "trainset", "train_set"])
_TEST = frozenset(["test", "testing", "testset", "test_set", "test_public", "val", "validation"])


@dataclass(frozen=True)
class Proposal:
    """A description, and what it reads: ``read`` of the ``present`` images, with ``problems``."""

    description: Description
    classes: tuple[ProductClass, ...]
    read: int
    present: int
    problems: tuple[str, ...]

    def to_yaml(self) -> str:
        """Write the description as a file for ``--layout``; what is usual is left out."""
        usual = asdict(Description(train=()))
        lines = [
            f"{name}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in asdict(self.description).items()
            if value != usual[name]
        ]
        return "\n".join(lines) + "\n"


def guess(root: Path) -> Proposal:
    """Propose the description of a folder that reads most of its images, with least problems.

    Images count that are trained or tested on, or are masks.

    Raises:
        DataError: not a folder, or no proposal reads a class to train on.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder of the data set")
    present = len(walk(root).images)
    best: Proposal | None = None
    for description in _candidates(root):
        found = _tried(root, description, present)
        if found and (best is None or _rank(found) > _rank(best)):
            best = found
    if best is None:
        raise DataError(
            f"{root} has no folders whose names say which parts are good, such as good, ok or "
            "normal; write a layout by hand, see docs/datasets.md"
        )
    used = {
        suffix
        for c in best.classes
        for s in c.test
        if s.mask_path
        for suffix in best.description.mask_suffixes
        if suffix and s.mask_path.stem.lower().endswith(suffix)
    }
    suffixes = tuple(s for s in best.description.mask_suffixes if s in used) or ("",)
    shorter = _tried(root, replace(best.description, mask_suffixes=suffixes), present)
    return shorter if shorter and _rank(shorter) >= _rank(best) else best


def _rank(proposal: Proposal) -> tuple[int, int, int, int]:
    tests = [sample for c in proposal.classes for sample in c.test]
    masks = sum(sample.mask_path is not None for sample in tests)
    has_both = len({sample.is_defective for sample in tests}) == 2
    plain = -len(proposal.description.masks)
    return proposal.read - len(proposal.problems), masks, int(has_both), plain


def _tried(root: Path, description: Description, present: int) -> Proposal | None:
    problems: list[str] = []
    try:
        names = description.class_names(root, "train")
        classes = description.read_classes(root, names, "train", problems.append)
    except DataError:
        return None
    if not any(len(c.train) >= 2 for c in classes):
        return None
    read = {path for c in classes for s in (*c.train, *c.test) for path in s.files}
    return Proposal(description, tuple(classes), len(read), present, tuple(problems))


def _candidates(root: Path) -> Iterator[Description]:
    flat = anomalib_folder.describe(root)
    if flat is not None:
        yield flat
    chains = {path.relative_to(root).parts[:-1] for path in walk(root).images}
    names = {part for chain in chains for part in chain}
    good = tuple(sorted(name for name in names if name.lower() in GOOD_NAMES))
    train = sorted(name for name in names if name.lower() in _TRAIN)
    test = sorted(name for name in names if name.lower() in _TEST)
    masks = sorted(name for name in names if name.lower() in MASK_NAMES)
    suffixes = (*MASK_SUFFIXES, "")
    for top in ("{class}/", ""):
        for where in _places_of_masks(top, test, masks):
            for kind in good:
                for a in train:
                    for b in test:
                        yield Description(
                            (f"{top}{a}/{kind}",), (f"{top}{b}/{{type}}",), where, good, suffixes
                        )
            for a in train:
                if any(chain and chain[-1] == a for chain in chains):  # images in it, not below
                    for b in test:
                        yield Description(
                            (f"{top}{a}",), (f"{top}{b}/{{type}}",), where, good, suffixes
                        )
            for kind in good:
                yield Description(
                    (f"{top}{kind}",), (f"{top}{{type}}",), where, good, suffixes, test_share=0.2
                )
            if where == ("{folder}",):
                for a in train:
                    for b in test:
                        yield Description(
                            (f"{top}{a}",),
                            (f"{top}{b}",),
                            where,
                            ("good",),
                            MASK_SUFFIXES,
                            "marked",
                        )


def _places_of_masks(top: str, test: list[str], masks: list[str]) -> Iterator[tuple[str, ...]]:
    yield ()
    yield ("{folder}",)
    for name in masks:
        yield (f"{top}{name}/{{type}}",)
        yield (f"{top}{name}",)
        yield (f"{{folder}}/{name}",)
        for part in test:
            yield (f"{top}{part}/{name}/{{type}}",)
