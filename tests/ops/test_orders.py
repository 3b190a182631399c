import itertools

import numpy as np
import pytest

from mambaad.errors import ConfigError
from mambaad.ops.orders import SCAN_METHODS, directional_orders, scan_order

SIZES = list(itertools.product([1, 2, 3, 5, 8, 12, 17], repeat=2))


@pytest.mark.parametrize("method", SCAN_METHODS)
@pytest.mark.parametrize("directions", [1, 2, 4, 8])
def test_every_direction_visits_each_cell_exactly_once(method, directions):
    for height, width in SIZES:
        orders = directional_orders(method, directions, height, width)
        assert orders.shape == (directions, height * width)
        assert (np.sort(orders, axis=1) == np.arange(height * width)).all()


def test_hilbert_only_steps_to_neighbours_on_any_rectangle():
    for height, width in itertools.product(range(1, 33), repeat=2):
        row, column = np.divmod(scan_order("hilbert", height, width), width)
        steps = abs(np.diff(row)) + abs(np.diff(column))
        assert (steps == 1).all(), (height, width)
        assert len(set(zip(row, column, strict=True))) == height * width


def skilling_decode(bits: int) -> np.ndarray:
    """The 2-D Hilbert curve by Skilling's transform (AIP Conf. Proc. 707, 381, 2004)."""
    points = []
    for h in range(4**bits):
        x = [0, 0]
        for bit in range(2 * bits):  # the index's bits alternate between the coordinates
            axis, place = bit % 2, bits - 1 - bit // 2
            x[axis] |= (h >> (2 * bits - 1 - bit) & 1) << place
        x[1], x[0] = x[1] ^ x[0], x[0] ^ (x[1] >> 1)  # Gray decode
        q = 2
        while q < 2**bits:
            p = q - 1
            for i in (1, 0):
                if x[i] & q:
                    x[0] ^= p
                else:
                    t = (x[0] ^ x[i]) & p
                    x[0] ^= t
                    x[i] ^= t
            q *= 2
        points.append(x)
    return np.array(points)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6])
def test_hilbert_is_the_released_order_on_powers_of_two(bits):
    i, j = skilling_decode(bits).T
    np.testing.assert_array_equal(scan_order("hilbert", 2**bits, 2**bits), i + j * 2**bits)


def test_released_orders_at_size_8(golden):
    for method in SCAN_METHODS:
        np.testing.assert_array_equal(scan_order(method, 8, 8), golden[f"order/{method}/8"])


@pytest.mark.parametrize(("height", "width"), [(7, 10), (12, 12), (15, 15), (28, 40), (31, 10)])
def test_hilbert_keeps_close_in_the_sequence_what_is_close_in_the_map(height, width):
    def mean_distance(method: str) -> float:
        row, column = np.divmod(scan_order(method, height, width), width)
        gap = min(height, width)  # as many steps as a row has cells
        return np.hypot(row[gap:] - row[:-gap], column[gap:] - column[:-gap]).mean()

    root = np.sqrt(min(height, width))
    assert mean_distance("hilbert") < 1.8 * root


def test_directions_are_views_of_the_map_and_their_reversals():
    orders = directional_orders("zigzag", 8, 3, 5)
    np.testing.assert_array_equal(orders[4:], orders[:4, ::-1])
    cells = np.arange(15).reshape(3, 5)
    rotated = np.rot90(cells)
    for k, view in enumerate((cells, cells.T, rotated, rotated.T)):
        order = scan_order("zigzag", *view.shape)
        np.testing.assert_array_equal(orders[k], view.ravel()[order])
    np.testing.assert_array_equal(directional_orders("zigzag", 1, 3, 5), orders[:1])


def test_scans_written_out():
    assert scan_order("sweep", 2, 3).tolist() == [0, 1, 2, 3, 4, 5]
    assert scan_order("scan", 3, 3).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]
    assert scan_order("zorder", 2, 3).tolist() == [0, 1, 3, 4, 2, 5]


def test_results_are_shared_and_cannot_be_changed():
    order = scan_order("hilbert", 4, 4)
    assert scan_order("hilbert", 4, 4) is order
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scan_order("spiral", 4, 4), "--scan: expected one of sweep"),
        (lambda: scan_order("sweep", 0, 4), "0 x 4"),
        (
            lambda: directional_orders("sweep", 3, 4, 4),
            "--directions: expected 1, 2, 4 or 8, got 3",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, message):
    with pytest.raises(ConfigError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
