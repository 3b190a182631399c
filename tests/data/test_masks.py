"""The same numbers as torchvision, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode, Resize, ToTensor

from mambaad.data.masks import resize_mask_bilinear, resize_mask_nearest
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
