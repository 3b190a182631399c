"""Random streams and fields."""

from __future__ import annotations

import numpy as np
import pytest

from mambaad.data.synthetic.noise import Frame, cells, fractal, grain, pick, smooth, streaks, stream


def test_streams_have_their_own_numbers_whatever_was_drawn_from_others() -> None:
    first = stream(3, "wood", "board")
    alone = first.random(4)
    np.testing.assert_array_equal(stream(3, "wood", "board").random(4), alone)
    for other in (stream(4, "wood", "board"), stream(3, "tile", "board"), stream(3, "wood", "x")):
        assert not np.isin(other.random(4), alone).any()


def test_the_numbers_of_a_seed_stay_what_they_are() -> None:
    # Data sets that were made once can be made again: keys must not depend on the machine.
    assert stream(7, "kit", "plan").random() == pytest.approx(0.4767808902314399, abs=1e-15)


def test_coordinates_are_the_same_at_every_size() -> None:
    large, small = Frame(256, 0, "kit"), Frame(64, 0, "kit")
    assert (large.x.min(), large.x.max()) == (-127.5, 127.5)
    assert (small.y.min(), small.y.max()) == (-126, 126)
    # A small pixel is where the sixteen of a large image are.
    np.testing.assert_allclose(small.x, large.x.reshape(64, 4, 64, 4).mean((1, 3)))


@pytest.mark.parametrize("field", ["smooth", "fractal", "streaks", "grain"])
def test_fields_vary_around_nothing(field: str) -> None:
    random = stream(1, field)
    values = {
        "smooth": lambda: smooth(random, 128, 16, 32),
        "fractal": lambda: fractal(random, 128, 8, 3),
        "streaks": lambda: streaks(random, 128, 12),
        "grain": lambda: grain(random, 128, 128),
    }[field]()
    assert values.shape == (128, 128)
    assert values.dtype == np.float64
    assert abs(values.mean()) < 0.15
    assert 0.25 < values.std() < 1.1


def test_grain_is_of_standard_deviation_1() -> None:
    assert grain(stream(2, "sensor"), 200, 200).std() == pytest.approx(1, abs=0.02)


def test_streaks_lie_across() -> None:
    lines = streaks(stream(1, "metal"), 128, 4)
    assert np.abs(np.diff(lines, axis=1)).mean() < 0.2 * np.abs(np.diff(lines, axis=0)).mean()


def test_cells_are_the_distances_to_the_two_nearest_points() -> None:
    v, u = np.mgrid[0:6:60j, -3:3:60j]
    nearest, second = cells(stream(5, "hide"), u, v)
    assert (nearest <= second).all()
    assert nearest.min() < 0.1
    assert nearest.max() < 1.3  # every unit square has a point


def test_pick_gives_every_choice() -> None:
    random = stream(0, "pick")
    assert {pick(random, 5) for _ in range(200)} == set(range(5))
