"""Where tiles lie, how they are cut, and which of them are trained on."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data import tile_views
from mambaad.data.images import read_sample_image
from mambaad.data.tile_views import TileView, training_views
from mambaad.data.tiling import Tiling, cut
from mambaad.errors import ConfigError
from mambaad.size import parse_tiles
from mambaad.types import ProductClass, Sample


@pytest.mark.parametrize(
    ("length", "size", "stride", "shift", "expected"),
    [
        (512, 512, 384, 0, (0,)),
        (100, 512, 384, 0, (0,)),
        (1280, 512, 384, 0, (0, 384, 768)),
        (1024, 512, 384, 0, (0, 384, 512)),  # the last one is moved inwards
        (1000, 512, 384, 0, (0, 384, 512)),  # 24 pixels beyond the end
        (1280, 512, 384, 192, (0, 192, 576, 768)),
    ],
)
def test_offsets(
    length: int, size: int, stride: int, shift: int, expected: tuple[int, ...]
) -> None:
    assert Tiling(size, stride, shift).offsets(length) == expected


def test_tiles_cover_every_length_on_the_grid() -> None:
    for length in range(1, 700, 7):
        offsets = Tiling(128, 64).offsets(length)
        assert all(offset % 32 == 0 for offset in offsets)
        assert offsets[-1] + 128 >= length
        assert all(b - a <= 64 for a, b in pairwise(offsets))


def test_what_lies_beyond_the_edge_is_mirrored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    tile = cut(pixels, 0, 32, 64)
    assert np.array_equal(tile[:40, :38], pixels[:, 32:])
    assert np.array_equal(tile[40], np.concatenate([pixels[39, 32:], pixels[39, :43:-1]])[:64])
    assert np.array_equal(tile[:40, 38], pixels[:, 69])


@pytest.mark.parametrize(
    ("text", "tiles"),
    [("512:384", (512, 384)), ("512", (512, 384)), ("128", (128, 64)), ("off", None)],
)
def test_tiles_as_they_are_given(text: str, tiles: tuple[int, int] | None) -> None:
    assert parse_tiles(text) == tiles


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("big", "expected 512:384"),
        ("512:", "expected 512:384"),
        ("500:384", "a multiple of 32 from 96 to 8192, got 500"),
        ("64", "a multiple of 32 from 96 to 8192, got 64"),
        ("512:480", "from 32 to 448 for tiles of 512 pixels, got 480"),
        ("512:0", "got 0"),
        ("512:100", "got 100"),
    ],
)
def test_what_are_no_tiles(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_tiles(text)


@pytest.fixture
def classes(tmp_path: Path) -> list[ProductClass]:
    """Two classes of three images and of one, whose pixels say where they are."""
    random = np.random.default_rng(0)
    found = []
    for name, count in (("bolt", 3), ("nut", 1)):
        samples = []
        for i in range(count):
            path = tmp_path / f"{name}{i}.png"
            Image.fromarray(random.integers(0, 256, (256, 320, 3), dtype=np.uint8)).save(path)
            samples.append(Sample(path, name))
        found.append(ProductClass(name, tuple(samples)))
    return found


@pytest.mark.parametrize("positions", ["random", "grid"])
def test_classes_have_equal_shares_of_views(
    classes: list[ProductClass], positions: tile_views.Positions
) -> None:
    views = training_views(classes, Tiling(128, 64), views=8, positions=positions, seed=3)
    tiles = Counter(v.class_name for v in views if isinstance(v.held, TileView))
    assert tiles == {"bolt": 16, "nut": 16}
    wholes = Counter(v.class_name for v in views if v.held is None)
    assert wholes == {"bolt": 4, "nut": 4}


def test_views_are_the_same_each_time_and_show_what_is_there(classes: list[ProductClass]) -> None:
    first, again = (training_views(classes, Tiling(128, 64), views=4, seed=3) for _ in range(2))
    other = training_views(classes, Tiling(128, 64), views=4, seed=4)
    shown = [[read_sample_image(v) for v in views] for views in (first, again, other)]
    assert all(np.array_equal(a, b) for a, b in zip(shown[0], shown[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(shown[0], shown[2], strict=True))
    places = set()
    for view, pixels in zip(first, shown[0], strict=True):
        whole = read_sample_image(Sample(view.path, view.class_name))
        if view.held is None:
            assert np.array_equal(pixels, whole)
            continue
        row, column = view.held.place((256, 320))
        assert row % 32 == column % 32 == 0
        assert np.array_equal(pixels, whole[row : row + 128, column : column + 128])
        places.add((view.path, row, column))
    assert len(places) > 8


def test_the_grid_is_covered_before_a_tile_comes_again(classes: list[ProductClass]) -> None:
    tiling = Tiling(128, 64)
    (nut,) = (c for c in classes if c.name == "nut")
    count = len(tiling.places((256, 320)))
    views = training_views([nut], tiling, views=count, positions="grid")
    tiles = [v.held.place((256, 320)) for v in views if v.held]
    assert sorted(tiles) == tiling.places((256, 320))


def test_an_image_of_one_tile_is_shown_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (100, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = ProductClass("nut", (Sample(tmp_path / "a.png", "nut"),))
    for view in training_views([small], Tiling(128, 64), views=2):
        assert np.array_equal(read_sample_image(view), pixels)


def test_few_images_are_kept(classes: list[ProductClass], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_views, "KEPT", 256 * 320 * 3)
    views = training_views(classes, Tiling(128, 64), views=2)
    before = [read_sample_image(v) for v in views]
    monkeypatch.setattr(tile_views, "KEPT", 0)
    for view, pixels in zip(views, before, strict=True):
        assert np.array_equal(read_sample_image(view), pixels)
