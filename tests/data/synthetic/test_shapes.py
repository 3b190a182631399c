"""Outlines and windows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mambaad.data.synthetic.noise import Frame
from mambaad.data.synthetic.optics import Surface, draw_light
from mambaad.data.synthetic.shapes import (
    bevel,
    box,
    disc,
    hexagon,
    inside,
    patch,
    placed,
    sample,
    stroke,
    write,
)

FRAME = Frame(128, 0, "kit")


def points(*where: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.array([where]).transpose(2, 0, 1).astype(float)
    return u, v


def test_distances_are_negative_inside_and_measured_to_the_outline() -> None:
    np.testing.assert_allclose(disc(*points((3, 4), (0, 0)), 2), [[3, -2]])
    np.testing.assert_allclose(box(*points((13, 14), (0, 0), (12, 0)), 10, 10), [[5, -10, 2]])
    np.testing.assert_allclose(box(*points((10, 10)), 10, 10, 2), [[2 * 2**0.5 - 2]])
    np.testing.assert_allclose(hexagon(*points((0, 0), (0, 9)), 6), [[-6, 3]])


@pytest.mark.parametrize("radius", [10.0, 31.5])
def test_coverage_is_the_area(radius: float) -> None:
    covered = inside(disc(FRAME.x, FRAME.y, radius), FRAME.unit).sum() * FRAME.unit**2
    assert covered == pytest.approx(np.pi * radius**2, rel=0.01)


def test_a_bevel_rises_inwards_to_its_height() -> None:
    heights = bevel(np.array([[1.0, 0.0, -2.0, -4.0, -9.0]]), 4, 3)
    assert heights[0, 0] == heights[0, 1] == 0
    assert 0 < heights[0, 2] < 3
    np.testing.assert_allclose(heights[0, 3:], 3)


def test_a_patch_is_a_window_with_the_parts_own_coordinates() -> None:
    surface = Surface.of(np.zeros((128, 128, 3)), np.zeros((128, 128)))
    place = patch(FRAME, surface, (20, -30), 0.5, 12)
    assert place.u.size < 0.02 * 128 * 128
    coverage = place.lay(box(place.u, place.v, 8, 3), np.ones(3), height=5)
    assert surface.albedo[..., 0].sum() == pytest.approx(coverage.sum())
    rows, columns = np.nonzero(surface.height > 2)
    assert FRAME.x[0, columns].mean() == pytest.approx(20, abs=0.5)
    assert FRAME.y[rows, 0].mean() == pytest.approx(-30, abs=0.5)
    x, y = placed(7, 0, 0.5, (20, -30))  # its right end
    at = round((y + 127) / FRAME.unit), round((x + 127) / FRAME.unit)
    assert surface.height[at] > 2


def test_a_patch_outside_of_the_image_is_empty() -> None:
    surface = Surface.of(np.zeros((128, 128, 3)), np.zeros((128, 128)))
    assert patch(FRAME, surface, (200, 0), 0.0, 10).u.size == 0


def test_a_shadow_falls_away_from_the_lamp() -> None:
    surface = Surface.of(np.ones((128, 128, 3)), np.zeros((128, 128)))
    light = draw_light(FRAME.random("light"))  # at the upper left
    place = patch(FRAME, surface, (0, 0), 0.7)
    place.shadow(lambda u, v: disc(u, v, 15), light, height=15)
    dark = 1 - surface.lit
    assert (dark * FRAME.x).sum() / dark.sum() > 3
    assert (dark * FRAME.y).sum() / dark.sum() > 3


def test_an_artwork_lies_where_it_belongs() -> None:
    artwork = np.zeros((20, 40), dtype=np.uint8)
    artwork[:10, 20:] = 255  # the upper right quarter
    read = sample(artwork, *points((10, -5), (-10, -5), (10, 5), (90, 0)), 40, 20)
    np.testing.assert_allclose(read, [[1, 0, 0, 0]])


def test_text_is_written_from_its_left_top() -> None:
    sheet = Image.new("L", (120, 40))
    write(ImageDraw.Draw(sheet), (10, 4), "LOT", 20, 255)
    left, top, right, bottom = sheet.getbbox() or (0, 0, 0, 0)
    assert left in range(9, 15)
    assert 4 <= top < bottom <= 30
    assert 35 < right < 70


def test_a_stroke_has_its_length_and_width() -> None:
    line = np.array([[-40.0, 0.0], [0.0, 0.0], [40.0, 0.0]])
    area = stroke(FRAME, line, np.full(3, 5.0)).sum() * FRAME.unit**2
    assert area == pytest.approx(80 * 5, rel=0.12)
