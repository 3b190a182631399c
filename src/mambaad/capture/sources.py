"""Which kind of source a path, an address or a program's frames are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mambaad.capture.folder import Folder
from mambaad.capture.frame import Given, Source
from mambaad.capture.video import Video, is_address
from mambaad.errors import ConfigError, DataError
from mambaad.types import Reading


def open_source(
    source: str | os.PathLike[str] | Iterable[Any],
    reading: Reading,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    reconnect: float | None = None,
    is_known: Callable[[str, float], bool] = lambda path, changed: False,
) -> Source:
    """Open a source of frames, so that one that is not there is said at once.

    Args:
        source: a folder, a video file, an address such as ``rtsp://camera/1``, a USB camera such as
            ``/dev/video0``, or the images themselves.
        reading: how the pixels of images are read.
        format, options, reconnect: see :class:`mambaad.capture.video.Video`.
        is_known: see :class:`mambaad.capture.folder.Folder`.

    Raises:
        ConfigError, DataError: it is none of these, or cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        return Given(source, reading)
    text = os.fspath(source)
    if reconnect is not None and not reconnect >= 0:
        raise ConfigError(f"--reconnect: expected 0 seconds or more, got {reconnect}")
    if format is None and not is_address(text):
        path = Path(text)
        if path.is_dir():
            return Folder(path, reading, is_known)
        if not path.exists():
            raise DataError(
                f"{text} does not exist; give a video file, a folder, an address such as "
                "rtsp://camera/1, or a camera such as /dev/video0"
            )
    return Video(
        text, format=format, options=options, reconnect=reconnect, max_pixels=reading.max_pixels
    )
