from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mambaad.data.synthetic.render import render_part
from mambaad.inspection.quality import measure_quality, quality_limits


def part(number):
    return render_part("screw", number, size=128).image


def measured(pixels):
    return measure_quality(pixels, pixels.shape[:2])


@pytest.fixture(scope="module")
def limits():
    return quality_limits([measured(part(number)) for number in range(12)])


def test_other_good_parts_are_fit(limits):
    assert [limits.problem(measured(part(number))) for number in range(100, 110)] == [None] * 10


def scaled(pixels, factor):
    return (pixels * factor).clip(0, 255).astype(np.uint8)


def noisy(pixels):
    noise = np.random.default_rng(0).normal(0, 40, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def blurred(pixels):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (blurred, "blurred"),
        (noisy, "noisy"),
        (lambda p: scaled(p, 0.5), "too dark"),
        (lambda p: scaled(p, 0.02), "under-exposed"),
        (lambda p: scaled(p, 3.0), "over-exposed"),
        (lambda p: p[:, :64], "wrong size: 128 x 64 pixels, calibrated on 128 x 128"),
        (lambda p: p[::3, ::3], "wrong size"),
    ],
)
def test_what_is_not_fit(limits, change, problem):
    assert limits.problem(measured(change(part(100)))).startswith(problem)


def test_sharpness_does_not_depend_on_exposure():
    pixels = part(0)
    darker = measured(scaled(pixels, 0.6))
    assert darker.sharpness == pytest.approx(measured(pixels).sharpness, abs=0.1)
    assert darker.brightness == pytest.approx(0.6 * measured(pixels).brightness, rel=0.02)


def test_a_flat_image_has_figures():
    quality = measured(np.full((32, 32, 3), 255, np.uint8))
    assert astuple(quality)[1:] == (pytest.approx(255), 0.0, 1.0, 32, 32)
    assert np.isfinite(quality.sharpness)
