"""The same numbers as torchvision, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label
from torchvision.transforms import InterpolationMode, Resize, ToTensor

from mambaad.data.masks import (
    lost_regions,
    resize_map,
    resize_mask_bilinear,
    resize_mask_nearest,
)
from tests.data.conftest import noise


@pytest.mark.parametrize(
    ("ours", "how"),
    [
        (resize_mask_nearest, InterpolationMode.NEAREST),
        (resize_mask_bilinear, InterpolationMode.BILINEAR),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (50, 70)])
def test_mask(ours, how: InterpolationMode, height: int, width: int) -> None:
    mask = noise(50, 70) > 160
    pillow = Image.fromarray(mask.astype(np.uint8) * 255)
    expected = ToTensor()(Resize((height, width), how)(pillow))[0] > 0.5
    resized = ours(mask, height, width)
    assert resized.dtype == bool
    np.testing.assert_array_equal(resized, expected.numpy())


def test_nearest_takes_the_pixel_at_the_centre() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1, 4] = True
    assert resize_mask_nearest(mask, 2, 2).tolist() == [[False, True], [False, False]]
    np.testing.assert_array_equal(resize_mask_nearest(mask, 4, 6), mask)
    np.testing.assert_array_equal(
        resize_mask_nearest(mask, 8, 12), mask.repeat(2, axis=0).repeat(2, axis=1)
    )


def test_a_small_defect_vanishes_in_bilinear_only() -> None:
    mask = np.zeros((64, 64), bool)
    mask[34, 34] = True
    assert not resize_mask_bilinear(mask, 16, 16).any()
    assert resize_mask_nearest(mask, 16, 16).sum() == 1


def test_a_region_without_a_pixel_left_is_found_at_its_centre() -> None:
    mask = np.zeros((64, 64), bool)
    mask[1, 8:57] = True  # a scratch of one pixel
    mask[40:52, 40:52] = True
    mask[33, 3] = mask[34, 4] = True  # one region: they touch at a corner
    resized = resize_mask_nearest(mask, 8, 8)
    assert resized.sum() == 1
    assert lost_regions(mask, resized).tolist() == [[0, 4], [4, 0]]
    assert lost_regions(np.zeros((64, 64), bool), np.zeros((8, 8), bool)).shape == (0, 2)


@pytest.mark.parametrize("resize", [resize_mask_nearest, resize_mask_bilinear])
@pytest.mark.parametrize("size", [(16, 16), (40, 25), (150, 200)])
def test_lost_regions_are_those_of_a_loop_over_regions(resize, size: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    mask = random.random((90, 70)) < 0.01
    mask[60:80, 10:40] = True
    resized = resize(mask, *size)
    expected = 0
    regions, count = label(mask, np.ones((3, 3)))
    for region in range(1, count + 1):
        rows, columns = np.nonzero(regions == region)
        in_map = [
            resized[int((r + 0.5) * size[0] / 90), int((c + 0.5) * size[1] / 70)]
            for r, c in zip(rows, columns, strict=True)
        ]
        expected += not any(in_map)
    lost = lost_regions(mask, resized)
    assert len(lost) == expected
    assert (expected > 0) == (size[0] < 90)
    assert not resized[lost[:, 0], lost[:, 1]].any()


def test_a_map_resized_up_is_bilinear() -> None:
    small = np.array([[0.0, 1.0], [2.0, 4.0]], np.float32)
    large = resize_map(small, 4, 4)
    assert large.dtype == np.float32
    # A pixel's centre lies a quarter or three quarters between those of the small map's.
    assert large[0].tolist() == [0, 0.25, 0.75, 1]
    assert large[1, 1] == pytest.approx(0.75 * (0.75 * 0 + 0.25 * 1) + 0.25 * (0.75 * 2 + 0.25 * 4))
    np.testing.assert_array_equal(resize_map(small, 2, 2), small)
