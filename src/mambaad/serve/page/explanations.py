"""Why a part scored as it did: the shares of the scales, and the good part most similar to it.

Both come from what was kept with the inspections (:class:`mambaad.serve.inference.worker.Result`):
no model is loaded, and what one has inspected is explained long after another one is in use.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mambaad.serve.page import queries
from mambaad.serve.page.page import PageParts
from mambaad.serve.page.texts import Texts
from mambaad.serve.page.views import PartView
from mambaad.serve.store.queries import Row

_COMPARED = 200  # good parts, the newest ones
_CROP = 0.25  # smallest side of a close-up, as a share of the image's smaller side
_UNREADABLE = (OSError, KeyError, ValueError, zipfile.BadZipFile)
Box = tuple[int, int, int, int]
"""Left, top, width and height, in pixels of an image."""


@dataclass(frozen=True)
class ScaleShare:
    """The contribution of one scale to the score, as a share; ``name`` in the page's language."""

    name: str
    share: float


@dataclass(frozen=True)
class Explanation:
    """What explains a score.

    ``scales``: finest first; one alone is no explanation and is left out. ``frame``: the place of
    the highest value. ``nearest``: the id of the most similar good part, of which ``image`` is the
    address, ``size`` the width and height and ``place`` the same place; ``found_good``: whether a
    person found it good; otherwise it passed.
    """

    scales: tuple[ScaleShare, ...]
    frame: Box
    nearest: str | None = None
    image: str | None = None
    size: tuple[int, int] = (1, 1)
    place: Box = (0, 0, 1, 1)
    found_good: bool = False


def explain(t: Texts, parts: PageParts, row: Row, part: PartView) -> Explanation | None:
    """Explain the score of a part; None if it did not decide, or its map is not kept with it.

    Args:
        t: the page's texts.
        parts: what the pages work with.
        row: the inspection, as the store gives it.
        part: the same as the page shows it.
    """
    if part.size is None or not (part.is_judged or part.word == "NONE"):
        return None
    try:
        with np.load(parts.images.map(row["part_id"])) as kept:
            shares, strides = kept["shares"].tolist(), kept["strides"].tolist()
            (y, x), (height, width) = kept["at"].tolist(), kept["map"].shape
    except _UNREADABLE:
        return None
    centre = ((x + 0.5) / width, (y + 0.5) / height)
    frame = _around(part, centre)
    scales = _named(t, strides, shares)
    found = _nearest(parts, row) if part.regions and row["product"] else None
    if found is None:
        return Explanation(scales, frame)
    size = _size_of(found) or part.size
    place = (
        round(frame[0] * size[0] / part.size[0]),
        round(frame[1] * size[1] / part.size[1]),
        round(frame[2] * size[0] / part.size[0]),
        round(frame[3] * size[1] / part.size[1]),
    )
    return Explanation(
        scales,
        frame,
        found["id"],
        f"/pictures/{found['id']}",
        size,
        place,
        found["decision"] == "good",
    )


def _around(part: PartView, centre: tuple[float, float]) -> Box:
    """A square around the highest value that holds the whole of its region, inside the image."""
    assert part.size is not None  # explain has looked
    width, height = part.size
    x, y = centre[0] * width, centre[1] * height
    side = _CROP * min(width, height)
    for region in part.regions:
        left, top, right, bottom = region.box
        if left <= x <= right and top <= y <= bottom:
            side = max(side, 1.3 * (right - left), 1.3 * (bottom - top))
            x, y = (left + right) / 2, (top + bottom) / 2
            break
    whole = max(min(round(side), width, height), 1)
    left = round(min(max(x - whole / 2, 0), width - whole))
    top = round(min(max(y - whole / 2, 0), height - whole))
    return left, top, whole, whole


def _named(t: Texts, strides: list[int], shares: list[float]) -> tuple[ScaleShare, ...]:
    if len(strides) < 2:
        return ()
    if len(set(strides)) == 1:  # maps of groups of blocks, on one grid
        names = [t("explained.map", n=number) for number in range(1, len(strides) + 1)]
        ends = ("early", "late")
    else:
        names = [t("explained.stride", stride=stride) for stride in strides]
        ends = ("fine", "coarse")
    for index, end in ((0, ends[0]), (-1, ends[1])):
        names[index] = f"{names[index]} ({t(f'explained.{end}')})"
    return tuple(map(ScaleShare, names, shares))


def _nearest(parts: PageParts, row: Row) -> Row | None:
    """The good part whose embedding is nearest, of those whose image is kept."""
    own = _embedding(parts.images.map(row["part_id"]))
    if own is None:
        return None
    good = parts.store.read(
        lambda c: queries.good_parts(
            c, row["product"], row["bundle"], other_than=row["id"], limit=_COMPARED
        )
    )
    distances = []
    for number, other in enumerate(good):
        embedded = _embedding(parts.images.map(other["part_id"]))
        if embedded is not None and embedded.shape == own.shape:
            distances.append((float(np.linalg.norm(embedded - own)), number))
    for _, number in sorted(distances):
        other = good[number]
        if parts.images.image(other["sha256"], other["format"]).is_file():
            return other
    return None


def _embedding(path: Path) -> Float[np.ndarray, " c"] | None:
    try:
        return _read_embedding(path)
    except _UNREADABLE:
        return None


@lru_cache(maxsize=4096)  # a few KiB each; what is kept with a part never changes
def _read_embedding(path: Path) -> Float[np.ndarray, " c"]:
    with np.load(path) as kept:
        return np.asarray(kept["embedding"], np.float32)


def _size_of(row: Row) -> tuple[int, int] | None:
    quality = row["record"]["quality"]
    return (quality["width"], quality["height"]) if quality else None
