"""A web cut into strips, and regions joined across them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mambaad.data.tiling import Tiling
from mambaad.errors import ConfigError, DataError
from mambaad.inspection.calibration import Calibration, CalibrationPart, calibrate_class
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.line_scan import LineScan, WebRegion, strips_of
from mambaad.inspection.product_settings import ProductSettings
from mambaad.inspection.quality import measure_quality
from mambaad.inspection.tiles import TiledEngine
from mambaad.types import Reading, Verdict
from tests.inspection.test_tiles import LocalEngine

WIDTH, STRIP, OVERLAP = 192, 256, 64


class OneProduct(LocalEngine):
    """Finds every image as near to its one product as the calibrated ones."""

    def observe(self, images: np.ndarray) -> list[Any]:
        near = np.asarray([0.5], np.float32)
        return [found._replace(distances=near) for found in super().observe(images)]


@pytest.fixture
def scan() -> LineScan:
    """A line scan by an engine whose map is the red of each pixel; FAIL is above about 0.1."""
    inspector = object.__new__(Inspector)
    tiling = Tiling(128, 64)
    quality = measure_quality(np.full((128, 128, 3), 90, np.uint8), (STRIP, WIDTH))
    random = np.random.default_rng(0)
    parts = [
        CalibrationPart(
            float(score), np.full(10, score, np.float32), np.asarray([0.5], np.float32), quality
        )
        for score in random.uniform(0.05, 0.1, 200)
    ]
    settings = ProductSettings(mm_per_px=0.5)
    found = calibrate_class(parts, 0, [], settings, fail_fpr=0.01, review_fpr=0.05)
    limits = replace(found.limits, sharpness=(-20.0, 20.0), brightness=(20.0, 250.0), dark=0.5)
    found = replace(found, limits=limits)
    vars(inspector).update(
        source="run",
        tiling=tiling,
        engine=TiledEngine(OneProduct(128), tiling),
        products=("belt",),
        calibration=Calibration({"belt": found}, "hold-out", 0, "float32", "", tiles=(128, 64)),
        reading=Reading(),
        weights="",
        heatmap_range=(0.0, 1.0),
    )
    return LineScan(inspector, "belt", strip=STRIP, overlap=OVERLAP)


def web(rows: int, *spots: tuple[int, int, int, int]) -> np.ndarray:
    """A web with red rectangles: left, top, right, bottom."""
    pixels = np.zeros((rows, WIDTH, 3), np.uint8)
    pixels[..., 2] = 200
    pixels[::2, :, 2] = 180
    for left, top, right, bottom in spots:
        pixels[top:bottom, left:right, 0] = 255
    return pixels


def in_blocks(pixels: np.ndarray, rows: int = 50) -> Any:
    return (pixels[top : top + rows] for top in range(0, len(pixels), rows))


def near(found: WebRegion, spot: tuple[int, int, int, int]) -> bool:
    return all(abs(a - b) <= 16 for a, b in zip(found.box, spot, strict=True))


@pytest.mark.parametrize("rows", [256, 257, 448, 500, 1000, 1027])
@pytest.mark.parametrize("block", [1, 7, 64, 300, 2000])
def test_strips_cover_the_web_with_overlap(rows: int, block: int) -> None:
    pixels = (np.arange(rows, dtype=np.uint16)[:, None, None] % 251).astype(np.uint8)
    pixels = np.broadcast_to(pixels, (rows, 8, 3))
    strips = list(strips_of(in_blocks(pixels, block), 256, 64))
    tops = [top for top, _ in strips]
    assert tops[:-1] == [192 * i for i in range(len(tops) - 1)]
    assert all(top % 4 == 0 for top in tops)
    assert rows - 4 < tops[-1] + 256 <= rows
    for top, strip in strips:
        assert np.array_equal(strip, pixels[top : top + 256])


def test_each_region_is_reported_once_where_it_lies(scan: LineScan) -> None:
    spots = [
        (40, 20, 72, 52),  # in the first strip
        (100, 200, 132, 240),  # wholly in the overlap of two
        (30, 430, 60, 900),  # through several strips
        (120, 980, 150, 1010),  # in the last one, which is moved back
    ]
    found = list(scan.inspect(in_blocks(web(1030, *spots))))
    assert len(found) == 4
    found.sort(key=lambda region: region.box[1])
    for region, spot in zip(found, spots, strict=True):
        assert near(region, spot)
        left, top, right, bottom = spot
        assert 0.8 < region.area_px / ((right - left) * (bottom - top)) < 2.2
        assert region.box_mm == tuple(side * 0.5 for side in region.box)
        assert region.area_mm2 == region.area_px / 4
        assert region.verdict is Verdict.FAIL
        assert not region.goes_on


def test_a_region_is_reported_before_the_web_ends(scan: LineScan) -> None:
    given = 0

    def lines() -> Any:
        nonlocal given
        for block in in_blocks(web(3000, (40, 20, 72, 52))):
            given += len(block)
            yield block

    next(scan.inspect(lines()))
    assert given <= 300  # whole blocks of 50 rows for a strip of 256


def test_a_streak_without_an_end_is_reported_in_pieces(scan: LineScan) -> None:
    rows = 12 * STRIP
    found = list(scan.inspect(in_blocks(web(rows, (60, 0, 80, rows)))))
    assert len(found) >= 2
    assert found[0].goes_on
    assert not found[-1].goes_on
    pieces = sorted(region.box[1::2] for region in found)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == rows
    assert all(a[1] >= b[0] for a, b in pairwise(pieces))


def test_a_good_web_has_no_regions(scan: LineScan) -> None:
    assert list(scan.inspect(in_blocks(web(700)))) == []


@pytest.mark.usefixtures("users_checks_only")
def test_rows_that_are_no_web_are_refused(scan: LineScan) -> None:
    with pytest.raises(DataError, match="has 100 rows, fewer than a strip of 256"):
        list(scan.inspect([web(100)]))
    with pytest.raises(DataError, match="has 0 rows"):
        list(scan.inspect([]))
    with pytest.raises(DataError, match="100 pixels wide, those before 192"):
        list(scan.inspect([web(200), web(200)[:, :100]]))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"strip": 255}, "multiples of 4"),
        ({"overlap": 256, "strip": 256}, "the overlap less than the strip"),
        ({"overlap": 64, "strip": 128}, "more rows than a tile, 128"),
    ],
)
def test_rows_of_strips_that_do_not_go_together(
    scan: LineScan, rows: dict[str, int], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        LineScan(scan._inspector, "belt", **rows)


def test_what_line_scan_needs(scan: LineScan) -> None:
    inspector = scan._inspector
    inspector.tiling = None
    with pytest.raises(ConfigError, match="no tiles or no calibration"):
        LineScan(inspector, "belt")
