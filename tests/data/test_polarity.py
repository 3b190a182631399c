"""Masks whose defects look like the ground, or like nearly everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.layouts import read_data
from mambaad.data.mask_files import read_mask
from mambaad.data.polarity import Coverage, border, coverage, odd_masks
from tests.data.conftest import noise

ROWS, COLUMNS = np.mgrid[:64, :80]


def ellipse(share: float, row: int = 32, column: int = 40) -> np.ndarray:
    """An ellipse in the image's proportions; ``share`` of the image unless it leaves it."""
    radius = np.sqrt(share * 64 * 80 / np.pi / (64 * 80))
    return np.hypot((ROWS - row) / 64, (COLUMNS - column) / 80) < radius


def test_the_border_is_every_pixel_at_it_once() -> None:
    pixels = np.arange(64 * 80).reshape(64, 80)
    at_it = (ROWS == 0) | (ROWS == 63) | (COLUMNS == 0) | (COLUMNS == 79)
    assert sorted(border(pixels)) == sorted(pixels[at_it])
    assert border(np.zeros((1, 5))).shape == (10,)  # its one row is the first and the last
    assert border(noise(6, 7, 3)).shape == (22, 3)


DEFECTS = {
    "small": ellipse(0.01),
    "a tenth": ellipse(0.12),
    "a third": ellipse(0.35),
    "half": ellipse(0.5),
    "at a corner": ellipse(0.5, 0, 0),
    "a side": COLUMNS < 32,
    "a scratch across": abs(ROWS - 30) < 3,
    "empty": np.zeros((64, 80), bool),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_only_the_inverted_mask_of_a_defect_seems_so(name: str) -> None:
    assert not coverage(DEFECTS[name]).seems_inverted
    assert coverage(~DEFECTS[name]).seems_inverted


def test_a_defect_larger_than_the_ground_that_leaves_the_border_alone() -> None:
    large = ellipse(0.6)
    assert not coverage(large).seems_inverted
    assert coverage(~large).seems_inverted  # it has all of the border


def test_most_masks_of_a_class_are_a_problem_and_fewer_a_note() -> None:
    sound, inverted, full = Coverage(0.1, 0.0), Coverage(0.7, 0.8), Coverage(0.95, 0.5)
    files = [Path(f"{i}.png") for i in range(4)]
    assert odd_masks("nut", [sound] * 4, files) == ([], [])
    assert odd_masks("nut", [], []) == ([], [])
    (problem,), notes = odd_masks("nut", [sound, *[inverted] * 3], files)
    assert problem.startswith("3 of the 4 masks of nut mark the larger part of their image or of")
    assert notes == []
    problems, (first, second) = odd_masks("nut", [sound, full, inverted, inverted], files)
    assert problems == []
    assert first.startswith("nut has 2 masks that mark the larger part of their image or of")
    assert "2.png the first: are they inverted?" in first
    assert second.startswith("nut has 1 masks that mark more than 90% of their image, 1.png the")
    assert odd_masks("nut", [inverted], files)[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_inverted_files_of_large_defects(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask{suffix}"
    Image.fromarray((~ellipse(0.3) * 255).astype(np.uint8)).save(path)
    assert coverage(read_mask(path)).seems_inverted


def test_real_masks_seem_right_and_their_inverse_does_not(real_data: Path) -> None:
    masks = [s.mask_path for c in read_data(real_data, split="test") for s in c.test if s.mask_path]
    some = [read_mask(path) for path in masks[::9]]
    assert not any(coverage(mask).seems_inverted for mask in some)
    assert all(coverage(~mask).seems_inverted for mask in some)
