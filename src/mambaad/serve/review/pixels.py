"""The pixels of parts whose images are kept."""

from __future__ import annotations

import sys
from pathlib import Path

from mambaad.data.decoding import decode_bytes
from mambaad.data.images import to_rgb
from mambaad.data.tiling import Pixels
from mambaad.types import Reading


def stored_pixels(content: bytes, part: str, reading: Reading) -> Pixels:
    """Decode a stored image as the model reads images (DataError).

    How many pixels there may be was decided when the part came in, by the service's setting: here
    it is not decided again.

    Args:
        content: of the image's file, as it came.
        part: id of the part, for messages.
        reading: of the model.
    """
    path = Path(part)
    return to_rgb(decode_bytes(content, path, sys.maxsize), path, reading)
