"""A folder that fills, as a source of frames: each image in it once, in the order of their times.

It is listed again and again, which works on any file system, network shares included.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mambaad.capture.filling import FillingFolder, Stamp
from mambaad.capture.frame import Frame
from mambaad.capture.pauses import pauses
from mambaad.data.decoding import decode_bytes
from mambaad.data.images import to_rgb
from mambaad.errors import DataError
from mambaad.file_errors import cannot_read
from mambaad.files import printable
from mambaad.progress import say
from mambaad.types import Reading

_LOOK_SECONDS = 0.2
_SETTLE_SECONDS = 0.5
_MOST_BYTES = 2**31


class Folder:
    """Gives the images of a folder as they come; folders inside are left alone.

    A folder that is gone, such as a share's, is looked for again.

    Args:
        folder: the folder.
        reading: how the pixels of files are read.
        is_known: whether a file (its path and the time of its last change, in seconds since 1970)
            has been inspected before, and is not to be given.

    Raises:
        DataError: there is no such folder.
    """

    is_live = False
    is_endless = True

    def __init__(
        self,
        folder: Path,
        reading: Reading,
        is_known: Callable[[str, float], bool] = lambda path, changed: False,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; create it, or check the path")
        self.name = printable(folder)
        self.reconnections = 0
        self._folder, self._reading, self._is_known = folder, reading, is_known

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Give each file that is whole; one that is no image is a frame with an error."""
        files = FillingFolder(self._folder, _SETTLE_SECONDS, _MOST_BYTES)
        began, index, waits, is_lost = time.time(), 0, pauses(), False
        while not stop.is_set():
            try:
                settled = files.settled()
            except OSError as error:
                if not is_lost:
                    say(cannot_read(self.name, error) + "; it is looked for again")
                is_lost = True
                stop.wait(next(waits))
                continue
            if is_lost:
                say(f"{self.name} is there again")
                self.reconnections += 1
                waits, is_lost = pauses(), False
            for name, stamp in settled:
                if self._is_known(str(self._folder / name), stamp[1] / 1e9):
                    files.finish(name, stamp)
                    continue
                frame = self._frame(files, name, stamp, index, began)
                if frame is None:
                    continue
                yield frame
                files.finish(name, stamp)
                index += 1
                if stop.is_set():
                    return
            stop.wait(_LOOK_SECONDS)

    def _frame(
        self, files: FillingFolder, name: str, stamp: Stamp, index: int, began: float
    ) -> Frame | None:
        """The frame of a settled file; None where it is not whole yet."""
        path, pixels, problem = self._folder / name, None, None
        try:
            content = files.read(name, stamp)
            if content is None:
                return None
            decoded = decode_bytes(content, path, self._reading.max_pixels)
            pixels = to_rgb(decoded, path, self._reading)
        except OSError as error:
            problem = cannot_read(path, error)
        except DataError as error:
            problem = str(error)
        taken = stamp[1] / 1e9
        seconds = max(taken - began, 0.0)
        return Frame(
            pixels, self.name, index, seconds, taken, self.reconnections, str(path), problem
        )
