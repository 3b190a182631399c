"""Images in batches, fewer at a time where they are large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.inference.engine import Observation
from mambaad.inspection.stream import Item, observe_stream
from mambaad.types import Reading, Sample


class MeanEngine:
    """Observes the mean of each image."""

    device, size, batch_size, reads_ahead, trained = "cpu", (8, 8), 4, 2, None

    def __init__(self) -> None:
        self.batches: list[int] = []

    def observe(self, images: np.ndarray) -> list[Observation]:
        self.batches.append(len(images))
        zeros = np.zeros(self.size, np.float32)
        return [Observation(float(i.mean()), zeros, np.zeros(0, np.float32)) for i in images]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(found):
        Image.new("L", (20, 10), 10 * i).save(path)
    return found


@pytest.mark.parametrize(("most", "batches"), [(10_000, [4, 3]), (900, [2, 2, 2, 1]), (0, [1] * 7)])
def test_large_images_come_in_small_batches(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, most: int, batches: list[int]
) -> None:
    monkeypatch.setattr("mambaad.inspection.stream.MOST_WAITING", most)
    engine = MeanEngine()
    observed = list(observe_stream(engine, map(Item, paths), batch_size=4))
    assert [image.result[0].score for image in observed] == [10.0 * i for i in range(7)]
    assert engine.batches == batches  # an image is 600 bytes of RGB


def test_files_are_read_as_their_item_says(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((10, 20), 2048, np.uint16)).save(path)
    items = [
        Item(path, reading=Reading(12)),
        Item.of(Sample(path, "nut", reading=Reading(14))),
        Item(path),
    ]
    first, second, third = observe_stream(MeanEngine(), items)
    assert first.result[0].score == round(2048 / 4095 * 255)
    assert second.result[0].score == round(2048 / 16383 * 255)
    assert "cannot be known from one image" in str(third.error)
