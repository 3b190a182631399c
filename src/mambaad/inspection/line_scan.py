"""Line scan: an image without an end, such as web material, inspected strip by strip.

Strips overlap, each is an image like those that the model was calibrated on, and regions that lie
in several of them are joined, so that each is reported once, where it lies along the web.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from mambaad.errors import ConfigError, DataError
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import observe_one
from mambaad.inspection.tiles import CELL
from mambaad.types import Verdict

LONGEST = 8
"""Strips after which a region that still goes on, such as a streak, is reported so far."""
_TOUCHING = np.ones((3, 3), dtype=bool)
_DECIDED = (Verdict.PASS, Verdict.REVIEW, Verdict.FAIL)
Rows = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class WebRegion:
    """A region of a web that looks defective.

    ``box``: left, top, right, bottom in pixels; top and bottom count from the web's first row,
    right and bottom are the first pixels outside. ``box_mm``: the same in mm, None if the product
    has no known scale. ``area_px``, ``area_mm2``: its area. ``peak``: the highest value within.
    ``verdict``: REVIEW or FAIL, by the peak. ``goes_on``: whether it was too long to wait for its
    end; the rest follows as further regions.
    """

    box: tuple[int, int, int, int]
    box_mm: tuple[float, float, float, float] | None
    area_px: float
    area_mm2: float | None
    peak: float
    verdict: Verdict
    goes_on: bool = False


class LineScan:
    """Inspects the rows of a line camera as they come.

    Args:
        inspector: calibrated, with tiles, on images of the web's width and a strip's height.
        product: the class of the web.
        strip: rows of a strip, those of the calibrated images; a multiple of 4.
        overlap: rows that a strip shares with the next one, a multiple of 4; a region no longer
            than this lies in one strip as a whole. At least the model's tile is advisable.

    Raises:
        ConfigError: an inspector without tiles or calibration, an unknown product, or rows that do
            not go together.
    """

    def __init__(
        self, inspector: Inspector, product: str, *, strip: int = 2048, overlap: int = 512
    ) -> None:
        if inspector.tiling is None or inspector.calibration is None:
            raise ConfigError(
                f"{inspector.source} has no tiles or no calibration, which line scan needs; train "
                "with --tiles, and calibrate"
            )
        inspector.check_product(product)
        if strip % CELL or overlap % CELL or not 0 < overlap < strip:
            raise ConfigError(
                f"strip, overlap: expected multiples of {CELL}, the overlap less than the strip, "
                f"got {strip} and {overlap}"
            )
        if strip <= inspector.tiling.size:
            raise ConfigError(
                f"strip: expected more rows than a tile, {inspector.tiling.size}, got {strip}"
            )
        self._inspector, self._product = inspector, product
        self._strip, self._overlap = strip, overlap
        self._class = inspector.calibration.classes[product]

    def inspect(self, lines: Iterable[Rows]) -> Iterator[WebRegion]:
        """Inspect a web to its end; memory does not grow with its length.

        Args:
            lines: blocks of rows, 8-bit RGB of one width, of any number of rows each.

        Yields:
            Each region once, as soon as no further strip can add to it.

        Raises:
            DataError: blocks of several widths, a web shorter than a strip, or a strip that cannot
                be judged, such as one that is too dark; it says at which row.
        """
        joined: _Joined | None = None
        for top, rows in strips_of(lines, self._strip, self._overlap):
            values = self._values(top, rows)
            joined = joined or _Joined(values.shape[1])
            joined.add(top // CELL, values)
            # What ends before the next strip begins is complete.
            open_from = (top + self._strip - self._overlap) // CELL
            for found in joined.take(open_from, LONGEST * self._strip // CELL):
                yield self._region(found, rows.shape[1])
        if joined:
            for found in joined.take(None, 0):
                yield self._region(found, rows.shape[1])

    def _values(self, top: int, rows: Rows) -> Float[np.ndarray, "h2 w2"]:
        """The scored map of a strip inside its regions; 0 elsewhere."""
        inspector = self._inspector
        item = inspector.item(rows, self._product)
        observed = observe_one(inspector.engine, item, inspector.region_of)
        prediction = inspector.judge(observed, self._product).prediction
        observation, _ = observed.result
        assert prediction is not None
        if prediction.verdict not in _DECIDED or prediction.region_mask is None:
            raise DataError(
                f"rows {top} to {top + len(rows)} cannot be judged: {prediction.reason}; check "
                "lamp and camera, and that a strip is as large as the calibrated images"
            )
        # Never 0 inside, whatever the map is there.
        inside = np.maximum(observation.scored_map, np.float32(1e-9))
        found: Float[np.ndarray, "h w"] = np.where(prediction.region_mask, inside, np.float32(0))
        return found

    def _region(self, found: _Found, width: int) -> WebRegion:
        left, top, right, bottom = (CELL * side for side in found.box)
        box = left, top, min(right, width), bottom
        scale, area = self._class.settings.mm_per_px, float(found.cells * CELL**2)
        in_mm = None
        if scale is not None:
            in_mm = box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale
        return WebRegion(
            box,
            in_mm,
            area,
            None if scale is None else area * scale**2,
            found.peak,
            Verdict.FAIL if found.peak > self._class.fail.value else Verdict.REVIEW,
            found.goes_on,
        )


def strips_of(lines: Iterable[Rows], strip: int, overlap: int) -> Iterator[tuple[int, Rows]]:
    """Cut a web into strips that overlap; the last one is moved back, so that it ends with the web.

    Where it would begin is rounded down to the map's cells, and up to 3 last rows are left out.

    Args:
        lines: blocks of rows of one width.
        strip, overlap: in rows.

    Yields:
        The first row of each strip, from the web's beginning, and its pixels.

    Raises:
        DataError: blocks of several widths, or fewer rows than a strip.
    """
    kept: Rows | None = None
    top = done = 0  # the first row that is kept, and that of the next strip
    for block in lines:
        if kept is not None and block.shape[1:] != kept.shape[1:]:
            raise DataError(
                f"a block of rows is {block.shape[1]} pixels wide, those before {kept.shape[1]}; "
                "give rows of one width"
            )
        kept = block if kept is None else np.concatenate([kept, block])
        while len(kept) - (done - top) >= strip:
            yield done, kept[done - top : done - top + strip]
            done += strip - overlap
        # As much as a strip that is moved back may need.
        drop = min(max(len(kept) - strip - CELL, 0), done - top)
        kept, top = kept[drop:].copy(), top + drop
    rows = 0 if kept is None else top + len(kept)
    if kept is None or rows < strip:
        raise DataError(f"the web has {rows} rows, fewer than a strip of {strip}; give more")
    last = (rows - strip) // CELL * CELL
    if last > done - (strip - overlap):
        yield last, kept[last - top : last - top + strip]


@dataclass(frozen=True)
class _Found:
    """A joined region in cells of the web: its box, its cells, the highest value."""

    box: tuple[int, int, int, int]
    cells: int
    peak: float
    goes_on: bool


class _Joined:
    """The cells of a web where there may still be regions without an end."""

    def __init__(self, width: int) -> None:
        self._top = self._done = 0
        self._values: Float[np.ndarray, "h w"] = np.zeros((0, width), np.float32)

    def add(self, top: int, values: Float[np.ndarray, "h w"]) -> None:
        """Lay a strip's values where it lies; where strips overlap the higher counts."""
        missing = top + len(values) - self._top - len(self._values)
        empty = np.zeros((max(missing, 0), values.shape[1]), np.float32)
        self._values = np.concatenate([self._values, empty])
        # Above is what has been taken: the last strip may begin before what the one before it left.
        start = max(self._top - top, self._done - top, 0)
        here = self._values[top + start - self._top : top + len(values) - self._top]
        np.maximum(here, values[start:], out=here)

    def take(self, open_from: int | None, longest: int) -> Iterator[_Found]:
        """Take the regions that end above a row, or that are too long; None: all.

        Args:
            open_from: the row, in cells, from which on further strips will add to the web.
            longest: rows of a region that is waited for.
        """
        labels, count = ndimage.label(self._values > 0, _TOUCHING)
        end = self._top + len(self._values) if open_from is None else open_from
        rest = end
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels, count), start=1):
            top, bottom = self._top + rows.start, self._top + rows.stop
            is_open = open_from is not None and bottom >= open_from
            if is_open and bottom - top < longest:
                rest = min(rest, top)
                continue
            inside = self._inside(labels, number, rows, columns)
            box = columns.start, top, columns.stop, bottom
            peak = float(self._values[rows, columns][inside].max())
            self._values[rows, columns][inside] = 0
            yield _Found(box, int(inside.sum()), peak, is_open)
        self._done = end
        drop = max(min(rest - self._top, len(self._values)), 0)
        self._values, self._top = self._values[drop:].copy(), self._top + drop

    @staticmethod
    def _inside(
        labels: np.ndarray, number: int, rows: slice, columns: slice
    ) -> Bool[np.ndarray, "h w"]:
        return np.asarray(labels[rows, columns] == number)
