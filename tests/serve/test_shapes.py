import numpy as np
import pytest
from pydantic import ValidationError

from mambaad.errors import ConfigError
from mambaad.serve.shapes import Shape, inspected_mask


def rectangle(left, top, right, bottom, kind="region_of_interest"):
    points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Shape(kind=kind, points=points)


def test_a_rectangle_is_the_pixels_inside_it():
    mask = inspected_mask([rectangle(0.25, 0.5, 0.75, 1.0)], (8, 16))
    expected = np.zeros((8, 16), bool)
    expected[4:, 4:12] = True
    np.testing.assert_array_equal(mask, expected)


def test_ignored_regions_are_taken_out_of_the_region_of_interest():
    mask = inspected_mask([rectangle(0, 0, 1, 0.5), rectangle(0, 0, 0.5, 1, "ignore")], (8, 8))
    expected = np.zeros((8, 8), bool)
    expected[:4, 4:] = True
    np.testing.assert_array_equal(mask, expected)
    only_ignored = inspected_mask([rectangle(0, 0, 0.5, 1, "ignore")], (8, 8))
    np.testing.assert_array_equal(only_ignored, np.arange(8)[None] >= np.full((8, 1), 4))


def test_a_polygon_agrees_with_a_test_of_each_pixels_centre():
    triangle = [(0.1, 0.1), (0.9, 0.3), (0.4, 0.95)]
    mask = inspected_mask([Shape(kind="region_of_interest", points=triangle)], (64, 64))
    y, x = (np.mgrid[:64, :64] + 0.5) / 64
    sides = []
    for (x0, y0), (x1, y1) in zip(triangle, triangle[1:] + triangle[:1], strict=True):
        sides.append((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0)
    inside = np.all(sides, axis=0)
    assert (mask != inside).mean() < 0.01  # pixels that an edge runs through


def test_without_shapes_everything_is_inspected():
    assert inspected_mask([], (8, 8)) is None


def test_nothing_left_is_refused():
    with pytest.raises(ConfigError, match="no part of the image"):
        inspected_mask([rectangle(0, 0, 1, 1, "ignore")], (8, 8))


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0), (1, 1)],
        [(0, 0), (0.5, 0.5), (1, 1)],
        [(0, 0), (2, 0), (0, 1)],
        [(0, 0), (float("nan"), 0), (0, 1)],
        [(0, 0)] * 201,
    ],
)
def test_what_is_no_region_is_refused(points):
    with pytest.raises(ValidationError):
        Shape(kind="ignore", points=points)
