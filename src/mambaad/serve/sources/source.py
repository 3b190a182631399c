"""What a source of parts is besides HTTP: a watched folder, a camera, a video."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class Capture:
    """A part as a source gives it.

    ``image``: a file's bytes, or pixels, grey (h, w) or RGB (h, w, 3). ``key``: this part's and no
    other's among all sources (begin it with the source's name), and the same if it is given again;
    None where it cannot be given again. ``file_name``: what is shown of it.
    """

    image: bytes | UInt8[np.ndarray, "h w *c"]
    key: str | None = None
    serial: str | None = None
    product: str | None = None
    file_name: str = ""


class Source(Protocol):
    """Gives parts; :class:`mambaad.serve.sources.feed.Feed` has them inspected.

    ``name``: its own, for people. ``kind``: "folder", "camera", ...; kept with each part.
    """

    name: str
    kind: str

    def captures(self) -> AsyncGenerator[Capture, None]:
        """Give parts as they come; the next one is asked for when this one is safe on disk.

        What blocks belongs into a thread. Ends where there are no more; whatever it raises is said,
        and it is asked anew after a pause, so that a camera is found again. Closed at the end.
        """

    async def accepted(self, capture: Capture) -> None:
        """The part is safe: it is inspected, whatever fails now."""

    async def refused(self, capture: Capture, reason: str) -> None:
        """The part will not be inspected."""

    def state(self) -> dict[str, Any]:
        """Its figures, as ``/v1/sources`` shows them."""
