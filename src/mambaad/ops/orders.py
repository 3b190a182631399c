"""The orders in which a scan visits the cells of a feature map."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from mambaad.errors import ConfigError

ScanMethod = Literal["sweep", "scan", "zorder", "zigzag", "hilbert"]
SCAN_METHODS: tuple[ScanMethod, ...] = get_args(ScanMethod)
DIRECTIONS = (1, 2, 4, 8)


@functools.lru_cache(maxsize=64)
def directional_orders(
    method: ScanMethod, directions: int, height: int, width: int
) -> Int[np.ndarray, "k l"]:
    """The K sequences in which a map of height x width is visited (MambaAD, section 3.2).

    The map itself, its transpose, its rotation by 90 degrees and the transpose of that: the first
    K/2 of these in the method's order, then the same sequences backwards. K = 1 visits the map
    itself, forwards.

    Returns:
        int32, read-only: ``[k, t]`` is the flat index (row * width + column) of the cell that
        direction k visits at step t. Every row is a permutation of the L = height * width cells.

    Raises:
        ConfigError: an unknown method, other directions than 1, 2, 4 or 8, or a side below 1.
    """
    if directions not in DIRECTIONS:
        raise ConfigError(f"--directions: expected 1, 2, 4 or 8, got {directions}")
    cells = np.arange(height * width, dtype=np.int32).reshape(height, width)
    turned = np.rot90(cells)
    views = (cells, cells.T, turned, turned.T)[: max(directions // 2, 1)]
    forwards = [view.ravel()[scan_order(method, *view.shape)] for view in views]
    backwards = [order[::-1] for order in forwards] if directions > 1 else []
    orders = np.stack(forwards + backwards)
    orders.flags.writeable = False
    return orders


def direction_names(directions: int) -> list[str]:
    """Describe each of the K sequences of :func:`directional_orders` in words."""
    views = ("as it is", "transposed", "turned", "turned and transposed")
    chosen = views[: max(directions // 2, 1)]
    ways = ("forwards", "backwards") if directions > 1 else ("forwards",)
    return [f"{view}, {way}" for way in ways for view in chosen]


@functools.lru_cache(maxsize=64)
def scan_order(method: ScanMethod, height: int, width: int) -> Int[np.ndarray, " l"]:
    """The sequence in which a scan method visits a map: each of its cells exactly once.

    ========  ====================================================================
    sweep     row by row, left to right
    scan      row by row, every second row right to left (boustrophedon)
    zorder    Morton order of the enclosing power of two
    zigzag    anti-diagonals, every second one upwards
    hilbert   Hilbert curve (Hilbert 1891), generalised to any rectangle
    ========  ====================================================================

    On squares of a power of two these are the orders of the released MambaAD.

    Returns:
        int64, read-only: ``[t]`` is the flat index (row * width + column) of the t-th cell.

    Raises:
        ConfigError: an unknown method, or a side below 1.
    """
    if method not in SCAN_METHODS:
        raise ConfigError(f"--scan: expected one of {', '.join(SCAN_METHODS)}, got '{method}'")
    if min(height, width) < 1:
        raise ConfigError(
            f"a map of {height} x {width} cells has no scan order; 1 x 1 is the least"
        )
    rows, columns = np.divmod(np.arange(height * width), width)
    if method == "sweep":
        order = np.arange(height * width)
    elif method == "scan":
        order = rows * width + np.where(rows % 2, width - 1 - columns, columns)
    elif method == "zorder":
        order = np.argsort(_interleave(rows, columns))
    elif method == "zigzag":
        diagonal = rows + columns
        order = np.lexsort((np.where(diagonal % 2, rows, columns), diagonal))
    else:
        path = np.array(list(_hilbert(height, width)))
        order = path.imag.astype(np.int64) * width + path.real.astype(np.int64)
    order.flags.writeable = False
    return order


def _interleave(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The Morton key: the bits of row and column alternately, the row's the higher one."""
    key = np.zeros_like(rows)
    for bit in range(int(max(rows.max(), columns.max())).bit_length()):
        key |= ((rows >> bit & 1) << 2 * bit + 1) | ((columns >> bit & 1) << 2 * bit)
    return key


def _hilbert(height: int, width: int) -> Iterator[complex]:
    """Cells, column + row * i, of a curve that only ever steps to a neighbour.

    It runs along the longer side from corner to corner. Where the longer side is odd and the
    other even no such path exists (the cells of a chessboard alternate in colour, and there are
    as many of either), so that it runs along the shorter side.
    """

    def exists(along: int, across: int) -> bool:
        return along % 2 == 0 or across % 2 == 1

    if exists(width, height) if width >= height else not exists(height, width):
        yield from _fill(0, 1, 1j, width, height)
    else:
        yield from _fill(0, 1j, 1, height, width)


def _fill(
    start: complex, along: complex, across: complex, length: int, depth: int
) -> Iterator[complex]:
    """Visit a rectangle from the corner ``start`` to the other corner of its side ``along``.

    (After the generalised Hilbert curve of J. Cerveny.) The parts' sides are kept even, since a
    part can be crossed from corner to corner only if its length is even or its depth odd.
    """
    if depth == 1:
        yield from (start + i * along for i in range(length))
    elif 2 * length > 3 * depth:
        half = length // 2 + length // 2 % 2
        yield from _fill(start, along, across, half, depth)
        yield from _fill(start + half * along, along, across, length - half, depth)
    else:
        out = depth // 2 + depth // 2 % 2 if depth > 2 else 1
        half = length // 2
        yield from _fill(start, across, along, out, half)
        yield from _fill(start + out * across, along, across, length, depth - out)
        corner = start + (length - 1) * along + (out - 1) * across
        yield from _fill(corner, -across, -along, out, length - half)
