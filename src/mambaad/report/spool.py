"""Anomaly maps that wait on disk until it is known how they are to be coloured."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from mambaad.report.pictures import heat_file

_SIDE = 128  # to which maps are shrunk: they are smooth
_HIGH = 0.95  # quantile of the images' highest values that has the last colour


class _Entry(NamedTuple):
    group: str
    file: str
    offset: int
    shape: tuple[int, int]
    median: float
    highest: float


class MapSpool:
    """Keeps maps in a temporary file, and colours those of each group by their own values."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # gone with this object
        weakref.finalize(self, self._file.close)
        self._entries: list[_Entry] = []

    def add(self, group: str, file: str, anomaly_map: Float[np.ndarray, "h w"]) -> None:
        """Keep a map.

        Args:
            group: whose maps share their colours, such as a class.
            file: the name of the layer that it will be.
            anomaly_map: float32.

        Raises:
            OSError: there is no room.
        """
        image = Image.fromarray(anomaly_map)
        shrink = min(_SIDE / max(image.size), 1.0)
        width, height = (max(round(shrink * side), 1) for side in image.size)
        small = np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32)
        offset = self._file.seek(0, 2)
        self._file.write(small.tobytes())
        values = float(np.median(small)), float(small.max())
        self._entries.append(_Entry(group, file, offset, (height, width), *values))

    def layers(self, usual: tuple[float, float] | None = None) -> Iterator[tuple[str, bytes]]:
        """Colour all maps: the names and contents of the layers' files.

        The colours of a group begin at the median of its maps, and end near the highest of their
        highest values: what is most unusual among them is seen, however little it is.

        Args:
            usual: of the model's heatmaps. The colours are not stretched to less than a third of
                it, which is what good parts have in training.
        """
        least = (usual[1] - usual[0]) / 3 if usual else 0.0
        for group in dict.fromkeys(entry.group for entry in self._entries):
            members = [entry for entry in self._entries if entry.group == group]
            low = float(np.median([entry.median for entry in members]))
            high = float(np.quantile([entry.highest for entry in members], _HIGH, method="higher"))
            bounds = low, max(high, low + max(least, 1e-9))
            for entry in members:
                self._file.seek(entry.offset)
                count = entry.shape[0] * entry.shape[1]
                values = np.frombuffer(self._file.read(4 * count), np.float32)
                yield entry.file, heat_file(values.reshape(entry.shape), bounds)
