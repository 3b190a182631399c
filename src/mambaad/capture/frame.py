"""What a source gives: frames, each with its place in the source and the time it was taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from mambaad.data.given import given_pixels
from mambaad.errors import DataError
from mambaad.types import Reading


@dataclass(frozen=True)
class Frame:
    """A frame of a video or camera, an image of a folder that fills, or one that a program gives.

    ``pixels``: 8-bit RGB; None where there are none, and ``error`` says why. ``source``: its name,
    for people. ``index``: its number among the source's frames, from 0. ``seconds``: its time since
    the source began. ``taken``: when it was taken, in seconds since 1970; of a video file, when it
    was read. ``session``: how often the source had been reached again. ``path``: of a folder's
    file.
    """

    pixels: UInt8[np.ndarray, "h w 3"] | None
    source: str
    index: int
    seconds: float
    taken: float
    session: int = 0
    path: str = ""
    error: str | None = None


class Source(Protocol):
    """Gives frames.

    ``name``: for people, without passwords. ``is_live``: whether frames come by themselves, at
    their own time, as a camera's do. ``is_endless``: whether only the user ends it.
    ``reconnections``: how often it was lost and reached again.
    """

    name: str
    is_live: bool
    is_endless: bool
    reconnections: int

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Give the frames in their order, until ``stop`` is set or there are no more (DataError)"""


class Given:
    """Frames that a program gives, such as those of a GenICam camera.

    Args:
        images: arrays, Pillow images or anything else that ``Inspector.inspect`` takes, but paths.
            They are asked for in a thread of their own, and copied at once.
        reading: how numbers of more than 8 bits are read.
    """

    name = "images"
    is_live = True
    is_endless = False
    reconnections = 0

    def __init__(self, images: Iterable[Any], reading: Reading) -> None:
        self._images, self._reading = images, reading

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Give the images; one that cannot be read is a frame with an error (ConfigError)."""
        began = time.time()
        for index, image in enumerate(self._images):
            taken, pixels, error = time.time(), None, None
            try:
                pixels = given_pixels(image, f"image {index}", self._reading)
            except DataError as problem:
                error = str(problem)
            yield Frame(pixels, self.name, index, taken - began, taken, error=error)
            if stop.is_set():
                return
