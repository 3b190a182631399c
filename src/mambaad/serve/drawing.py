"""Heatmaps of parts that were kept, drawn when they are asked for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from mambaad.serve.inference.worker import read_pixels
from mambaad.types import Reading


class KeptMap(NamedTuple):
    """A part's anomaly map (float32), its regions, and the values at the heatmap's ends."""

    map: Float[np.ndarray, "h w"]
    regions: Bool[np.ndarray, "h w"]
    range: tuple[float, float]


def read_map(path: Path) -> KeptMap | None:
    """Read a map; None where it was removed, or cut short by a power failure."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            low, high = archive["range"].tolist()
            return KeptMap(archive["map"], archive["regions"], (low, high))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def draw_heatmap(content: bytes, found: KeptMap, reading: Reading) -> bytes:
    """Draw a part's heatmap and regions over its image, as PNG (DataError).

    Args:
        content: the image's file.
        found: its map.
        reading: how images are read.
    """
    # Here, so that the service starts without matplotlib and SciPy, which take half a second.
    from mambaad.inspection.overlay import draw_outlines, heatmap_overlay

    pixels = read_pixels(content, reading)
    drawn = heatmap_overlay(pixels, found.map, found.range)
    if found.regions.any():
        drawn = draw_outlines(drawn, found.regions)
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, format="PNG", compress_level=1)
    return file.getvalue()
