"""Patterns of folders, such as ``{class}/test/{type}``, and the folders that fit them.

``*`` stands for any folder name, or for a part of one, that says nothing of the images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mambaad.data.readers.folders import as_spelt, folders
from mambaad.data.walk import is_folder, text
from mambaad.documents import shortened

_FIELD = re.compile(r"\{(class|type)\}")
_MOST_NAMES = 8


@dataclass(frozen=True)
class Place:
    """A folder of images, and what its place says of their class and type."""

    folder: Path
    fields: tuple[tuple[str, str], ...]
    name: str

    @property
    def type(self) -> str:
        """The type that the pattern gives, or else the folder's name."""
        return dict(self.fields).get("type", self.folder.name)

    @property
    def shown_type(self) -> str:
        """The type as text, and never the name that good parts have."""
        return "defect" if self.type == "good" else text(self.type)


def find_places(root: Path, pattern: str) -> list[Place]:
    """Find the folders that fit a pattern, by name."""
    found = _Found([(root, {})])
    for segment in _segments(pattern):
        found = _next(found, segment)
    alone = text(root.resolve().name) or "parts"
    return [
        Place(folder, tuple(fields.items()), text(fields["class"]) if "class" in fields else alone)
        for folder, fields in found
    ]


def why_none(root: Path, pattern: str) -> str:
    """Say which part of a pattern no folder fits, and what folders there are instead."""
    found = _Found([(root, {})])
    for segment in _segments(pattern):
        further = _next(found, segment)
        if not further:
            first = found[0][0]
            names = [text(folder.name) for folder in folders(first)]
            more = ", ..." if names[_MOST_NAMES:] else ""
            there = f"the folders {', '.join(names[:_MOST_NAMES])}{more}" if names else "no folders"
            return f"no folder is '{shortened(segment)}': {first} has {there}"
        found = further
    return "its folders are all folders of masks"


def mask_place(root: Path, place: Place, pattern: str) -> tuple[Path, Path | None]:
    """Return a place's folder of masks, and the folder of all masks if that has its own name."""
    fields = {**dict(place.fields), "type": place.type}
    folder, shared = (place.folder if "{folder}" in pattern else root), None
    varies = False
    for segment in _segments(pattern.replace("{folder}", "")):
        if segment == "{name}":
            break
        if segment == "..":  # beside the folder of the images, which lies below the data set's
            folder = folder.parent if folder != root else folder
            continue
        name = _FIELD.sub(lambda found: fields.get(found.group(1), ""), segment)
        folder = as_spelt(folder / name)
        varies = varies or "{type}" in segment
        if not varies and not _FIELD.search(segment):
            shared = folder
    return folder, shared


def expression(pattern: str) -> str:
    """Return the regular expression of the folders of masks of a pattern, and of those below."""
    below = pattern.replace("{folder}", "*").replace("*/..", "*")
    segments = [segment for segment in _segments(below) if segment != "{name}"]
    return "/".join(_expression(segment, {}) for segment in segments) + "(/.*)?"


_Found = list[tuple[Path, dict[str, str]]]


def _next(found: _Found, segment: str) -> _Found:
    """Go one folder down."""
    if not _FIELD.search(segment) and "*" not in segment:
        return [(p / segment, f) for p, f in found if is_folder(p / segment)]
    return [
        (folder, {**fields, **match.groupdict()})
        for path, fields in found
        for folder in folders(path)
        if (match := re.fullmatch(_expression(segment, fields), folder.name, re.DOTALL))
    ]


def _segments(pattern: str) -> list[str]:
    return [segment for segment in pattern.split("/") if segment not in ("", ".")]


def _expression(segment: str, known: dict[str, str]) -> str:
    parts = _FIELD.split(segment)  # text and fields in turn
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.escape(part).replace(r"\*", ".*")
        else:
            parts[i] = re.escape(known[part]) if part in known else f"(?P<{part}>.+)"
    return "".join(parts)
