"""Small data sets, and what every error must look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import DataError

WriteImage = Callable[..., Path]
Complains = Callable[..., AbstractContextManager[None]]

UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What each orientation (EXIF) makes of the pixels that are stored."""


def noise(*shape: int) -> np.ndarray:
    """8-bit pixels, the same for the same shape."""
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def write_image() -> WriteImage:
    """Write an image of some height and width, with the folders above it; mode L is a mask."""

    def write(path: Path, height: int = 8, width: int = 12, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = noise(height, width, 3)
        if mode == "L":
            pixels = np.where(pixels[..., 0] > 191, 255, 0).astype(np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write


@pytest.fixture
def dataset(tmp_path: Path, write_image: WriteImage) -> Path:
    """Two classes: ``nut`` with masks, ``bolt`` for training only."""
    root = tmp_path / "parts"
    for name in ("000.png", "001.png", "002.png"):
        write_image(root / "nut" / "train" / "good" / name)
        write_image(root / "bolt" / "train" / "good" / name)
    write_image(root / "nut" / "test" / "good" / "000.png")
    for name in ("000", "001"):
        write_image(root / "nut" / "test" / "crack" / f"{name}.png")
        write_image(root / "nut" / "ground_truth" / "crack" / f"{name}_mask.png", mode="L")
    return root


@pytest.fixture
def complains() -> Complains:
    """A DataError of one line that names the path and every one of ``parts``."""

    @contextmanager
    def expect(path: Path, *parts: str) -> Iterator[None]:
        with pytest.raises(DataError) as caught:
            yield
        message = str(caught.value)
        assert "\n" not in message
        for part in (str(path), *parts):
            assert part in message

    return expect


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of some content, and returns its path."""

    def write(content: bytes, name: str = "a.tif") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write
