"""The scores of a class's pixels, in memory that does not grow with the number of normal pixels."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import IO, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from mambaad.errors import DataError, RunError
from mambaad.file_errors import reason

CHUNK = 2**25
"""The number of scores sorted, and written to a temporary file, at a time (128 MiB)."""

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


class PixelScores:
    """Collects the pixels of a class, image by image.

    Normal pixels are many, and only their scores are needed: these are kept as sorted chunks, in
    a temporary file once a chunk is full. Anomalous pixels also have the area of their region.
    """

    def __init__(self) -> None:
        self.normal = SortedChunks()
        self._scores: list[Float[np.ndarray, " n"]] = []
        self._areas: list[Int[np.ndarray, " n"]] = []
        self._regions = 0

    def add(self, anomaly_map: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        """Add an image: its float32 map, and a mask that is True where a pixel is anomalous.

        Raises:
            DataError: a map that holds NaN.
        """
        if np.isnan(anomaly_map).any():
            raise DataError("anomaly maps hold NaN, expected numbers; check the model's output")
        if not mask.any():
            self.normal.add(anomaly_map.ravel())
            return
        self.normal.add(anomaly_map[~mask])
        from scipy.ndimage import label  # half a second, for which refusals need not wait

        regions, count = label(mask, _EIGHT_CONNECTED)
        self._scores.append(anomaly_map[mask].astype(np.float32))
        self._areas.append(np.bincount(regions.ravel())[regions[mask]].astype(np.int32))
        self._regions += count

    def anomalous(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p1"]]:
        """Return the anomalous pixels' scores, the highest first, and the overlap they reach.

        ``overlap[i]`` is the per-region overlap, averaged over the regions, of the i highest
        pixels. (Each pixel adds 1 / its region's area / the number of regions.)
        """
        if not self._scores:
            return np.empty(0, np.float32), np.zeros(1)
        scores = np.concatenate(self._scores)
        highest_first = np.argsort(scores)[::-1]
        areas = np.concatenate(self._areas)[highest_first]
        overlap = np.zeros(len(areas) + 1)
        np.divide(1, areas, out=overlap[1:])
        overlap[1:] /= self._regions
        return scores[highest_first], np.cumsum(overlap, out=overlap)


class SortedChunks:
    """Scores, kept to count those above given thresholds.

    Chunks of ``CHUNK`` scores are sorted and written to a file in the system's temporary folder;
    with less than a chunk there is no file.
    """

    def __init__(self) -> None:
        self.size = 0
        self.low, self.high = np.inf, -np.inf
        self._buffer = np.empty(0, np.float32)
        self._filled = 0
        self._chunks = 0
        self._file: IO[bytes] | None = None

    def add(self, scores: Float[np.ndarray, " n"]) -> None:
        """Add scores (float32, no NaN).

        Raises:
            RunError: the temporary folder is full.
        """
        if len(scores) == 0:
            return
        self.size += len(scores)
        self.low = min(self.low, float(scores.min()))
        self.high = max(self.high, float(scores.max()))
        while len(scores):
            if self._filled == len(self._buffer):
                self._make_room(len(scores))
            taken = scores[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            scores = scores[len(taken) :]

    def count_above(
        self, thresholds: Float[np.ndarray, " t"], *, or_equal: bool
    ) -> Int[np.ndarray, " t"]:
        """Count the scores above each threshold; with ``or_equal``, also those at it."""
        side: Literal["left", "right"] = "left" if or_equal else "right"
        counts = np.full(len(thresholds), self.size, np.int64)
        self._buffer[: self._filled].sort()
        for i in range(self._chunks):
            assert self._file is not None
            self._file.seek(i * CHUNK * 4)
            chunk = np.fromfile(self._file, np.float32, CHUNK)
            counts -= np.searchsorted(chunk, thresholds, side)
        counts -= np.searchsorted(self._buffer[: self._filled], thresholds, side)
        return counts

    def _make_room(self, needed: int) -> None:
        if len(self._buffer) < CHUNK:  # grow as a list does: a small class takes little
            larger = np.empty(min(CHUNK, max(2 * len(self._buffer), needed, 2**20)), np.float32)
            larger[: self._filled] = self._buffer[: self._filled]
            self._buffer = larger
            return
        self._buffer.sort()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # gone with this object
                weakref.finalize(self, self._file.close)
            self._file.seek(self._chunks * CHUNK * 4)
            self._file.write(self._buffer.data)
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"the pixels' scores cannot be written to the temporary folder "
                f"{os.environ.get('TMPDIR') or tempfile.tempdir or ''} ({reason(error)}); free "
                "some space there, or set TMPDIR to another folder"
            ) from error
        self._chunks += 1
        self._filled = 0
