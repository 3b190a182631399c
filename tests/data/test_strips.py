"""Large files by strips of rows, compared with the same files decoded as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mambaad.data import strips
from mambaad.data.images import AUTO, read_image
from mambaad.data.strips import ArrayStrips, open_strips, reduced
from mambaad.errors import DataError
from mambaad.types import Reading

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (300, 210, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def large_from_here_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STREAMED", 1000)


def rows_of(path: Path, *windows: tuple[int, int]) -> list[np.ndarray]:
    opened = open_strips(path, AUTO)
    assert opened is not None
    assert opened.shape == RGB.shape[:2]
    return [opened.rows(top, bottom).copy() for top, bottom in windows]


@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("a.png", RGB, {}),
        ("grey.png", RGB[..., 0], {}),
        ("a.tif", RGB, {"compression": "tiff_lzw"}),
        ("grey.tif", RGB[..., 0], {}),
        ("misnamed.jpg", RGB, {"format": "PNG"}),
    ],
)
def test_rows_are_those_of_the_whole(
    tmp_path: Path, name: str, pixels: np.ndarray, options: dict[str, Any]
) -> None:
    path = tmp_path / name
    Image.fromarray(pixels).save(path, **options)
    whole = read_image(path)
    windows = [(0, 128), (96, 224), (96, 230), (280, 300)]  # they overlap, and leave rows out
    for (top, bottom), rows in zip(windows, rows_of(path, *windows), strict=True):
        assert np.array_equal(rows, whole[top:bottom])


def test_rows_of_a_jpeg_are_nearly_those_of_the_whole(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(RGB[:10, :10]).resize((210, 300)))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    (rows,) = rows_of(tmp_path / "a.jpg", (0, 300))
    assert np.abs(rows.astype(int) - read_image(tmp_path / "a.jpg")).max() <= 3


def _upside_down(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(RGB).save(path, exif=exif)


def _two_pages(path: Path) -> None:
    image = Image.fromarray(RGB)
    image.save(path, save_all=True, append_images=[image])


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("deep.png", lambda p: Image.fromarray(RGB[..., 0].astype(np.uint16) * 200).save(p)),
        ("alpha.png", lambda p: Image.fromarray(RGB).convert("RGBA").save(p)),
        ("palette.png", lambda p: Image.fromarray(RGB).quantize(16).save(p)),
        ("turned.jpg", _upside_down),
        ("pages.tif", _two_pages),
        ("a.bmp", lambda p: Image.fromarray(RGB).save(p)),
        ("small.png", lambda p: Image.fromarray(RGB[:20, :20]).save(p)),
        ("none.png", lambda p: p.write_bytes(b"no image")),
    ],
)
def test_what_is_not_plain_is_decoded_as_any_other(tmp_path: Path, name: str, save: Any) -> None:
    save(tmp_path / name)
    assert open_strips(tmp_path / name, AUTO) is None


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="300 x 210 = 63000 pixels, more than the 60000"):
        open_strips(tmp_path / "a.png", Reading(max_pixels=60000))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_file_that_ends_early_is_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened = open_strips(path, AUTO)
    assert opened is not None
    with pytest.raises(DataError, match=rf"{name} cannot be read as an image"):
        opened.rows(0, 300)


def test_an_image_is_reduced_by_means_of_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "SHOWN", 100)
    found = reduced(ArrayStrips(RGB))
    assert found.shape == (100, 70, 3)
    expected = RGB.reshape(100, 3, 70, 3, 3).mean(axis=(1, 3))
    assert np.abs(found - expected).max() < 0.6  # Pillow rounds to one half at worst, and a bit
