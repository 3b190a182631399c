"""A proposal of how a folder of images may be read, from the names that are in it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from mambaad.data.layout_file import declared
from mambaad.data.readers import anomalib_folder
from mambaad.data.readers.described import Description
from mambaad.data.readers.folders import GOOD_NAMES, MASK_NAMES, MASK_SUFFIXES, folders
from mambaad.data.unread import find_unread
from mambaad.data.walk import Unread, text, walk
from mambaad.errors import DataError
from mambaad.types import ProductClass

_TRAIN = frozenset(["train", "training", "trainset", "train_set"])
_TEST = frozenset(["test", "testing", "testset", "test_set", "test_public"])
_VALIDATION = frozenset(["val", "valid", "validation"])
_IMAGES = frozenset(
    ["images", "image", "imgs", "img", "pictures", "photos", "bilder", "jpegimages", "图像", "图片"]
)
_DATE = re.compile(r"\d{4}([-_.]?)\d\d\1\d\d.*|\d\d[-_.]\d\d[-_.]\d{4}.*")
_SHARE = 0.2
_NO_CLASS = _TRAIN | _TEST | _VALIDATION | GOOD_NAMES
_NO_TYPE = _IMAGES | MASK_NAMES


@dataclass(frozen=True)
class Proposal:
    """A description, and what it reads: ``read`` of the ``present`` images, with ``problems``.

    ``unread``: everything else below the folder.
    """

    description: Description
    classes: tuple[ProductClass, ...]
    read: int
    present: int
    problems: tuple[str, ...]
    unread: tuple[Unread, ...] = ()

    def to_yaml(self) -> str:
        """Write the description as a file for ``--layout``; what is usual is left out."""
        lines = (
            f"{name}: {json.dumps(value, ensure_ascii=False)}\n"
            for name, value in _fields(self.description).items()
        )
        return "".join(lines)


def _fields(description: Description) -> dict[str, object]:
    """The fields of a description that are not as usual."""
    usual = asdict(Description(train=()))
    return {name: value for name, value in asdict(description).items() if value != usual[name]}


def guess(root: Path) -> Proposal:
    """Propose the description of a folder that reads most of its images, with least problems.

    Images count that are trained or tested on, or are masks.

    Raises:
        DataError: not a folder, or no proposal reads a class to train on.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder of the data set")
    present = len(walk(root).images)
    chains = {path.relative_to(root).parts[:-1] for path in walk(root).images}
    names = sorted({name for chain in chains for name in chain})
    good = _good(chains)
    by_name = _best(root, _by_name(root, chains, names, good), present)
    best = by_name
    # A part without a mask may be good, or not marked: names are surer where they say what is good.
    if by_name is None or not good:
        by_mask = _best(root, _by_mask(root, names), present)
        if by_mask and (by_name is None or by_mask.read > by_name.read):
            best = by_mask
    if best is None:
        there = ", ".join(text(folder.name) for folder in folders(root)) or "none"
        raise DataError(
            f"{root} has no folders whose names say which parts are good, such as good, ok or "
            f"normal, or where masks are, such as masks (its folders: {there}); write a layout by "
            "hand, see docs/datasets.md"
        )
    for shorter in _shorter(best):
        found = _tried(root, shorter, present)
        best = found if found and _rank(found) >= _rank(best) else best
    layout = declared(_fields(best.description)).layout()
    return replace(best, unread=tuple(find_unread(root, layout, best.classes)))


def _shorter(proposal: Proposal) -> Iterator[Description]:
    """Leave out what does not matter: endings of masks that there are not, and folders of masks."""
    description = proposal.description
    if not description.masks:
        yield replace(description, mask_suffixes=Description.mask_suffixes)
        return
    masks = [s.mask_path for c in proposal.classes for s in c.test if s.mask_path]
    used = [
        suffix
        for suffix in description.mask_suffixes
        if suffix and any(mask.stem.lower().endswith(suffix) for mask in masks)
    ]
    description = replace(description, mask_suffixes=tuple(used) or ("",))
    yield description
    for pattern in description.masks[1:]:
        yield replace(description, masks=tuple(m for m in description.masks if m != pattern))


def _rank(proposal: Proposal) -> tuple[int, int, int, int]:
    tests = [sample for c in proposal.classes for sample in c.test]
    masks = sum(sample.mask_path is not None for sample in tests)
    has_both = len({sample.is_defective for sample in tests}) == 2
    plain = -len(proposal.description.masks)
    return proposal.read - len(proposal.problems), masks, int(has_both), plain


def _tried(root: Path, description: Description, present: int) -> Proposal | None:
    problems: list[str] = []
    strict = replace(description, all_must_fit=True)
    try:
        names = description.class_names(root, "train")
        classes = strict.read_classes(root, names, "train", problems.append)
    except DataError:
        return None
    if not any(len(c.train) >= 2 for c in classes):
        if description.defective_if == "mask":  # every image may have one, empty if it is good
            return _tried(root, replace(description, defective_if="marked"), present)
        return None
    if description.defective_if != "type" and not any(c.has_masks for c in classes):
        return None
    has_classes = any("{class}" in pattern for pattern in description.train)
    types = {s.defect_type for c in classes for s in c.test}
    if (has_classes and _called(names, _NO_CLASS)) or _called(types, _NO_TYPE):
        return None
    if has_classes and 2 * len(_called(names, _NO_TYPE)) >= len(names):  # one may be a product
        return None
    if has_classes and all(map(_DATE.fullmatch, names)):
        return None
    trained = {s.path.parent.relative_to(root) for c in classes for s in c.train}
    if any(_called(folder.parts, _TEST | _VALIDATION) for folder in trained):
        return None
    read = {path for c in classes for s in (*c.train, *c.test) for path in s.files}
    return Proposal(description, tuple(classes), len(read), present, tuple(problems))


def _best(root: Path, descriptions: Iterable[Description], present: int) -> Proposal | None:
    tried = (_tried(root, description, present) for description in dict.fromkeys(descriptions))
    return max(filter(None, tried), key=_rank, default=None)


def _good(chains: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Name the folders of good parts: by their names, or because all training images are in one."""
    names = {name for chain in chains for name in chain}
    trained = {after for c in chains for at, after in pairwise(c) if _called((at,), _TRAIN)}
    only = trained if len(trained) == 1 and not _called(trained, _NO_TYPE) else set()
    return tuple(sorted({*_called(names, GOOD_NAMES), *only}))


def _by_name(
    root: Path,
    chains: Iterable[tuple[str, ...]],
    names: Collection[str],
    good: tuple[str, ...],
) -> Iterator[Description]:
    """Describe folders whose names say which parts are good.

    Args:
        root: the folder.
        chains: of names of folders, that lead to images.
        names: of all of these folders.
        good: those of good parts.
    """
    flat = anomalib_folder.describe(root)
    if flat is not None and set("{}*").isdisjoint("".join((*flat.train, *flat.test))):
        yield flat
    filled = {chain[-1] for chain in chains if chain}
    for top in _tops(names):
        for where in _places_of_masks(top, names):
            for train, test in _train_and_test(top, good, _parts(names), filled):
                share = _SHARE if test == f"{top}{{type}}" else 0.0
                suffixes = (*MASK_SUFFIXES, "")
                yield Description(train, (test,), where, good, suffixes, test_share=share)


def _by_mask(root: Path, names: Collection[str]) -> Iterator[Description]:
    """Describe folders in which those parts are defective that have a mask."""
    for top in _tops(names):
        for pictures in (*_called(names, _IMAGES), ""):
            for where in filter(None, _places_of_masks(top, names)):
                suffixes = MASK_SUFFIXES if where == ("{folder}",) else (*MASK_SUFFIXES, "")
                base = Description((), (), where, ("good",), suffixes, "mask")
                train = (_folder(top, pictures),)
                yield replace(base, train=train, test_share=_SHARE, test_defective=True)
                for a, b in _parts(names):
                    for order in ((a, pictures), (pictures, a)):
                        test = (b if part == a else part for part in order)
                        yield replace(
                            base, train=(_folder(top, *order),), test=(_folder(top, *test),)
                        )


def _parts(names: Collection[str]) -> list[tuple[str, str]]:
    tests = _called(names, _TEST) or _called(names, _VALIDATION)
    return [(a, b) for a in _called(names, _TRAIN) for b in tests]


def _tops(names: Iterable[str]) -> tuple[str, ...]:
    """Say what may be above: a folder for each class, nothing, one for each day, or line."""
    is_dated = any(map(_DATE.fullmatch, names))
    return ("{class}/", "", *(["*/"] if is_dated else []), "*/{class}/")


def _called(names: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if text(name).strip().lower() in known)


def _folder(top: str, *names: str) -> str:
    return "/".join(part for part in (top.rstrip("/"), *names) if part) or "."


def _train_and_test(
    top: str, good: Sequence[str], parts: Sequence[tuple[str, str]], filled: Collection[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Name folders to train and to test on; ``filled`` are those with images themselves."""
    for kinds in dict.fromkeys([*((kind,) for kind in good), tuple(good)]):
        for a, b in parts if kinds else ():
            yield tuple(f"{top}{a}/{kind}" for kind in kinds), f"{top}{b}/{{type}}"
            yield tuple(f"{top}{kind}/{a}" for kind in kinds), f"{top}{{type}}/{b}"
        if kinds:
            yield tuple(f"{top}{kind}" for kind in kinds), f"{top}{{type}}"
    for a, b in parts:
        if a in filled:
            yield (f"{top}{a}",), f"{top}{b}/{{type}}"


def _places_of_masks(top: str, names: Collection[str]) -> Iterator[tuple[str, ...]]:
    yield ()
    yield ("{folder}",)
    for name in _called(names, MASK_NAMES):
        yield (f"{{folder}}/{name}",)
        if "*" not in top:
            yield from _shared_masks(top, name, names)
        yield (f"{{folder}}/../{name}",)


def _shared_masks(top: str, name: str, names: Collection[str]) -> Iterator[tuple[str, ...]]:
    yield (f"{top}{name}/{{type}}",)
    yield (f"{top}{name}",)
    for part in _called(names, _TEST | _VALIDATION):
        yield (f"{top}{part}/{name}/{{type}}",)
        yield (f"{top}{name}/{part}/{{type}}",)
    if top:
        yield (f"{name}/{top}{{type}}",)
        yield (f"{name}/{{class}}",)
