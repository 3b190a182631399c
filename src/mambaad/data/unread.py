"""What of a data set is not read: the whole folder, less what its layout reads."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mambaad.data.readers.base import Layout
from mambaad.data.walk import Unread, walk
from mambaad.files import printable
from mambaad.progress import say
from mambaad.types import ProductClass


def find_unread(root: Path, layout: Layout, classes: Iterable[ProductClass]) -> list[Unread]:
    """Name every file below a data set's folder that is neither an image nor a mask of a class.

    Args:
        root: the folder of the data set.
        layout: of the data set; what it sets aside is usual.
        classes: all of its classes, as read.
    """
    read = {path for c in classes for s in (*c.train, *c.test) for path in s.files}
    # A layout's own folders may be links that the walk would not follow.
    found = walk(root, follow=_folders_of(read))
    unread = found.unread
    names = {(path.parent, path.stem.lower()) for path in found.images}
    for path in found.images:
        if path in read:
            continue
        bases = (path.stem.lower().removesuffix(end) for end in layout.beside)
        is_mask = any((path.parent, base) in names for base in bases if base != path.stem.lower())
        if aside := is_mask or layout.aside(path.relative_to(root).parts):
            reason = "belongs to the data set, but is not used"
        else:
            reason = f"is not read: the layout of {layout.title} has {layout.form}"
        unread.append(Unread(path, "unused image", reason, is_usual=aside))
    return sorted(unread, key=lambda one: one.path)


def note_unread(
    root: Path, unread: Sequence[Unread], classes: Iterable[ProductClass], problems: Iterable[str]
) -> Iterator[str]:
    """Note, in a line for each folder and reason, what is not read though it may be meant to be.

    Args:
        root: the folder of the data set.
        unread: what is not read.
        classes: what is read.
        problems: lines about the data set; the files that they begin with are not noted again.
    """
    told = sorted(problems)
    through = _folders_of(p for c in classes for s in (*c.train, *c.test) for p in s.files)
    groups: dict[tuple[Path, str], list[Unread]] = {}
    for one in unread:
        if not one.is_usual and not _begins_one(str(one.path), told):
            folder = one.path.parent
            # The highest folder of which nothing is read stands for all that is in it.
            whole = [f for f in (folder, *folder.parents) if root in f.parents and f not in through]
            groups.setdefault((whole[-1] if whole else folder, one.reason), []).append(one)
    for (folder, reason), group in groups.items():
        first, rest = group[0].path, len(group) - 1
        if folder not in through and folder != root:
            yield f"{folder} ({sum(one.files for one in group)} files) {reason}"
        elif rest:
            yield f"{first}, and {rest} more in {folder}: each {reason}"
        else:
            yield f"{first} {reason}"


def count_unread(unread: Iterable[Unread]) -> str:
    """Count what is not read, by kinds: ``3 hidden, 2 .json``. Folders count their files."""
    kinds: Counter[str] = Counter()
    for one in unread:
        kinds[one.kind] += max(1, one.files)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _folders_of(files: Iterable[Path]) -> set[Path]:
    """All folders above files."""
    nearest = {path.parent for path in files}
    return {folder for near in nearest for folder in (near, *near.parents)}


def say_unread(root: Path) -> None:
    """Say, in a line on standard error, what no layout would read though it may be meant to be."""
    if unread := [one for one in walk(root).unread if not one.is_usual]:
        say(
            f"{root}: not read: {count_unread(unread)}, {printable(unread[0].path)} the first; "
            "mambaad data check names them"
        )


def _begins_one(path: str, lines: Sequence[str]) -> bool:
    at = bisect_left(lines, path + " ")
    return at < len(lines) and lines[at].startswith(path + " ")
