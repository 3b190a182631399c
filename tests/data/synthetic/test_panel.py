"""Panels: large images of many parts, with defects of a few pixels."""

from __future__ import annotations

from itertools import product as pairs

import numpy as np
import pytest
from scipy import ndimage

from mambaad.data.synthetic.panel import render_panel
from mambaad.data.synthetic.settings import FIELD, check_drawing
from mambaad.errors import ConfigError


def test_a_defect_is_small_and_the_only_change() -> None:
    good = render_panel("metal", 5, size=1024)
    bad = render_panel("metal", 5, size=1024, defect="hole", count=2)
    assert good.image.shape == (1024, 1024, 3)
    assert not good.mask.any()
    differs = (good.image != bad.image).any(axis=2)
    assert np.array_equal(differs, bad.mask)
    places = bad.parameters["defect"]["places"]
    fields = {tuple(place["field"]) for place in places}
    assert len(fields) == 2
    for row, column in pairs(range(2), repeat=2):
        field = bad.mask[row * FIELD : (row + 1) * FIELD, column * FIELD : (column + 1) * FIELD]
        assert field.any() == ((row, column) in fields)
        if field.any():
            sides = [s.stop - s.start for s in ndimage.find_objects(field.astype(int))[0]]
            assert 8 <= max(sides) <= 24


def test_fields_show_different_parts_under_one_lamp() -> None:
    image = render_panel("tile", 2, size=1024).image
    left, right = image[:FIELD, :FIELD], image[:FIELD, FIELD:]
    assert not np.array_equal(left, right)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("metal", 0, 1056), "a multiple of 512 from 1024 to 16384, got 1056"),
        (("metal", 0, 32768), "a multiple of 512 from 1024 to 16384, got 32768"),
        (("kit", 0, 2048), "--classes without kit"),
        (("nut", 0, 2048), "no product 'nut'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: tuple[str, int, int], problem: str) -> None:
    name, seed, size = arguments
    with pytest.raises(ConfigError, match=problem):
        render_panel(name, seed, size=size)
    with pytest.raises(ConfigError, match=problem):
        check_drawing([name], 2, 2, size, seed, 0.5)


def test_defects_of_whole_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match="a panel of screw has no defect 'bent'"):
        render_panel("screw", 0, size=1024, defect="bent")
    with pytest.raises(ConfigError, match="expected 1 to 4 defects, got 5"):
        render_panel("screw", 0, size=1024, defect="dent", count=5)
