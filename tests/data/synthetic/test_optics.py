"""Light and camera."""

from __future__ import annotations

import numpy as np
import pytest

from mambaad.data.synthetic.noise import Frame, stream
from mambaad.data.synthetic.optics import Surface, draw_light, expose, linear, look, towards

FRAME = Frame(64, 0, "kit")
LIGHT = draw_light(stream(0, "light")) | {"fall_x": 0.0, "fall_y": 0.0, "warmth": 0.0}


def flat(gloss: float = 0.0, metal: float = 0.0) -> Surface:
    return Surface.of(np.full((64, 64, 3), 0.4), np.zeros((64, 64)), gloss, metal)


@pytest.mark.parametrize("metal", [0.0, 0.8])
def test_a_slope_towards_the_lamp_is_brighter_than_one_away_from_it(metal: float) -> None:
    surface = flat(metal=metal)
    surface.height += 12 * np.exp(-(FRAME.x**2 + FRAME.y**2) / 600)  # a bump in the middle
    seen = look(surface, LIGHT, FRAME)[..., 0]
    x, y, _ = towards(LIGHT)
    facing = FRAME.x * x + FRAME.y * y
    on_bump = np.hypot(FRAME.x, FRAME.y) < 24
    assert seen[on_bump & (facing > 6)].mean() > 1.2 * seen[on_bump & (facing < -6)].mean()


def test_a_shadow_takes_light_and_the_rest_stays() -> None:
    surface = flat()
    whole = look(surface, LIGHT, FRAME)
    shadow = np.zeros((64, 64))
    shadow[20:30, 20:30] = 1
    surface.shade(shadow)
    seen = look(surface, LIGHT, FRAME)
    assert (seen[20:30, 20:30] < 0.5 * whole[20:30, 20:30]).all()
    np.testing.assert_array_equal(seen[40:], whole[40:])


def test_gloss_adds_light() -> None:
    matt, glossy = look(flat(), LIGHT, FRAME), look(flat(gloss=0.5), LIGHT, FRAME)
    assert (glossy >= matt).all()
    assert (glossy - matt).max() > 0.05


def test_what_covers_half_is_half_there() -> None:
    surface = flat()
    surface.cover(np.full((64, 64), 0.5), linear((255, 0, 0)), height=2.0, gloss=1.0)
    np.testing.assert_allclose(surface.albedo[0, 0], (0.7, 0.2, 0.2))
    assert surface.height[0, 0] == 1
    assert surface.gloss[0, 0] == 0.5
    assert surface.metal[0, 0] == 0


def test_the_camera_gives_8_bits_with_the_noise_of_the_part() -> None:
    seen = np.full((64, 64, 3), 0.25)
    image = expose(seen, LIGHT, FRAME)
    assert image.dtype == np.uint8
    assert image.mean() == pytest.approx(127.5, abs=0.5)  # a square root
    assert 0.5 < image.std() < 2
    np.testing.assert_array_equal(image, expose(seen, LIGHT, FRAME))
    assert (image != expose(seen, LIGHT, Frame(64, 1, "kit"))).any()
    assert expose(4 + seen, LIGHT, FRAME).max() == 255
