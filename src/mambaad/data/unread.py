"""What of a data set is not read: the whole folder, less what its layout reads.

Training, evaluation and calibration list data sets by :func:`list_data`, and ``data check`` by the
same parts: so they all count and name it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mambaad.data.layouts import find_layout
from mambaad.data.readers.base import Layout, Split, refuse_closed
from mambaad.data.walk import Unread, walk
from mambaad.errors import DataError
from mambaad.files import printable
from mambaad.progress import say
from mambaad.types import ProductClass

_NAMED = 3
_UNUSED, ASIDE = "unused image", "image set aside"
_PLURALS = {
    _UNUSED: "unused images",
    ASIDE: "images set aside",
    "closed folder": "closed folders",
    "link": "links",
    "text": "texts",
}


def list_data(
    root: Path,
    classes: Sequence[str] | None = None,
    *,
    split: Split = "train",
    layout: str | None = None,
    skip_unreadable: bool = False,
    below: Path | None = None,
) -> list[ProductClass]:
    """List the images of a data set, and say on standard error what it has that is not read.

    Args:
        root, classes, split, layout: see :func:`mambaad.data.layouts.read_data`.
        skip_unreadable: go on though there are folders that cannot be listed.
        below: the folder in ``root`` that this is about; by default all of it.

    Raises:
        ConfigError, DataError: see :func:`mambaad.data.layouts.read_data`.
        DataError: a folder that cannot be listed.
    """
    root, place = Path(root), Path(below or root)
    chosen = find_layout(root, layout)
    found = chosen.read(root, classes, split=split)
    others = _others(root, chosen, found, split) if below is None else []
    unread = find_unread(root, chosen, [*found, *others], place)
    if not skip_unreadable:
        refuse_closed(unread, "; use --skip-unreadable to leave such folders out")
    if unread := [one for one in unread if not one.is_usual or one.kind == ASIDE]:
        say(f"{place}: not read: {name_some(unread)}; mambaad data check names them")
    return found


def _others(
    root: Path, layout: Layout, found: Sequence[ProductClass], split: Split
) -> list[ProductClass]:
    """List what the layout reads besides: other classes, and the images of the other split."""
    names = dict.fromkeys(c.name for c in found) if split == "train" else {}
    try:
        left = [name for name in layout.class_names(root, "train") if name not in names]
    except DataError:  # only test images
        return []
    return layout.read_classes(root, left, "train", lambda problem: None)


def find_unread(
    root: Path, layout: Layout, classes: Iterable[ProductClass], below: Path | None = None
) -> list[Unread]:
    """Name every file below a data set's folder that is neither an image nor a mask of a class.

    Args:
        root: the folder of the data set.
        layout: of the data set; what it sets aside is usual.
        classes: all of its classes, as read.
        below: the folder in ``root`` to look through; by default all of it.
    """
    read = {path for c in classes for s in (*c.train, *c.test) for path in s.files}
    # A layout's own folders may be links that the walk would not follow.
    found = walk(below or root, follow=_folders_of(read))
    unread = found.unread
    names = {(path.parent, path.stem.lower()) for path in found.images}
    for path in found.images:
        if path in read:
            continue
        bases = (path.stem.lower().removesuffix(end) for end in layout.beside)
        is_mask = any((path.parent, base) in names for base in bases if base != path.stem.lower())
        if is_mask or layout.aside(path.relative_to(root).parts):
            reason = "belongs to the data set, but is not used"
            unread.append(Unread(path, ASIDE, reason, is_usual=True))
        else:
            reason = f"is not read: the layout of {layout.title} has {layout.form}"
            unread.append(Unread(path, _UNUSED, reason))
    return sorted(unread, key=lambda one: one.path)


def note_unread(
    root: Path, unread: Sequence[Unread], classes: Iterable[ProductClass], problems: Iterable[str]
) -> Iterator[str]:
    """Note, in a line for each folder and reason, what is not read though it may be meant to be.

    Args:
        root: the folder of the data set.
        unread: what is not read. Folders that cannot be listed are problems, not notes.
        classes: what is read.
        problems: lines about the data set; the files that they begin with are not noted again.
    """
    told = sorted(problems)
    through = _folders_of(p for c in classes for s in (*c.train, *c.test) for p in s.files)
    groups: dict[tuple[Path, str], list[Unread]] = {}
    for one in unread:
        if not one.is_usual and not one.is_closed and not _begins_one(str(one.path), told):
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
    return ", ".join(
        f"{count} {kind if count == 1 else _PLURALS.get(kind, kind)}"
        for kind, count in kinds.most_common()
    )


def name_some(unread: Sequence[Unread]) -> str:
    """Count what is not read, and name a few, first what may be meant to be read."""
    first = sorted(unread, key=lambda one: (one.is_usual, one.path))
    names = ", ".join(printable(one.path) for one in first[:_NAMED])
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    return f"{count_unread(unread)}: {names}{more}"


def _folders_of(files: Iterable[Path]) -> set[Path]:
    """All folders above files."""
    nearest = {path.parent for path in files}
    return {folder for near in nearest for folder in (near, *near.parents)}


def _begins_one(path: str, lines: Sequence[str]) -> bool:
    at = bisect_left(lines, path + " ")
    return at < len(lines) and lines[at].startswith(path + " ")
