"""Reading single maps of those that a job has kept."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

import numpy as np
from jaxtyping import Float

from mambaad.shards.results import MAPS, check_part, file_of, unusable
from mambaad.shards.stores import Place, digest_of, retried

_MOST_OPEN = 16


class StoredMaps:
    """The maps of a job, of which each read takes one into memory; threads may share it.

    Args:
        place: of the job.
        size: height and width of its maps.
    """

    def __init__(self, place: Place, size: tuple[int, int]) -> None:
        self._place, self._size = place, size
        self._open: OrderedDict[int, tuple[Any, int]] = OrderedDict()  # and where the maps begin
        self._lock = threading.Lock()

    def read(self, shard: int, row: int) -> Float[np.ndarray, "h w"]:
        """Read the map of a row, as float32.

        Raises:
            RunError: it cannot be read, has changed since it was written, or is of another size.
        """
        length = 2 * math.prod(self._size)
        try:
            with self._lock:
                content = retried(lambda: self._content(shard, row, length))
        except (OSError, ValueError) as error:
            raise unusable(self._place, MAPS, shard, error) from error
        return np.frombuffer(content, np.float16).reshape(self._size).astype(np.float32)

    def _content(self, shard: int, row: int, length: int) -> bytes:
        file, begin = self._opened(shard)
        try:
            file.seek(begin + row * length)
            content: bytes = file.read(length)
        except OSError:
            self._open.pop(shard)[0].close()  # to be opened again
            raise
        if len(content) != length:
            raise ValueError("it ends too early")
        return content

    def _opened(self, shard: int) -> tuple[Any, int]:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        with ExitStack() as opening:
            file: Any = opening.enter_context(self._place.open(file_of(MAPS, shard)))
            check_part(self._place, MAPS, shard, digest_of(file))
            file.seek(0)
            begin = self._begin(file)
            opening.pop_all()
        self._open[shard] = file, begin
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1][0].close()
        return self._open[shard]

    def _begin(self, file: Any) -> int:
        """Where the maps begin in an open file (ValueError: it has none of this size)."""
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it is no file of maps")
        shape, is_by_columns, kind = np.lib.format.read_array_header_1_0(file)
        if shape[1:] != self._size or kind != np.float16 or is_by_columns:
            raise ValueError(f"it has {kind} of {shape}")
        return int(file.tell())

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][0].close()
