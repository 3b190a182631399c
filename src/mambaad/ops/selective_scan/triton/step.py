"""Functions of the scan's kernels: the tile of a program, and what one step reads.

A program has the states of a block of channels in its registers, as a tile [D1, D2, N2, N1] of
D1 x D2 channels and N2 x N1 states. D2 x N2 are the 32 lanes of its one warp, and each lane holds
the rest: N1 states that lie side by side in memory, of D1 channels. So a sum over states or
channels takes few exchanges between lanes, and B and C are read as vectors.
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def state_numbers(N2: tl.constexpr, N1: tl.constexpr):
    """The state n of each place of a tile: [1, 1, N2, N1]."""
    n2 = tl.arange(0, N2)[None, None, :, None]
    return n2 * N1 + tl.arange(0, N1)[None, None, None, :]


@triton.jit
def channel_numbers(block, D1: tl.constexpr, D2: tl.constexpr):
    """The channel d of each place of a tile: [D1, D2, 1, 1]."""
    d1 = tl.arange(0, D1)[:, None, None, None]
    return block * (D1 * D2) + d1 * D2 + tl.arange(0, D2)[None, :, None, None]


@triton.jit
def sum_states(x):
    """Sum a tile over its states: [D1, D2, 1, 1]."""
    return tl.sum(tl.sum(x, 3, keep_dims=True), 2, keep_dims=True)


@triton.jit
def sum_channels(x):
    """Sum a tile over its channels: [1, 1, N2, N1]."""
    return tl.sum(tl.sum(x, 0, keep_dims=True), 1, keep_dims=True)


@triton.jit
def offset(number, WIDE: tl.constexpr):
    """A number that others are counted from, in 64 bits where a tensor is larger than 32 reach."""
    return number.to(tl.int64) if WIDE else number


@triton.jit
def softplus_gradient(dt):
    """The derivative of dt = softplus(z): sigmoid(z) = 1 - exp(-dt), by its series where small."""
    series = dt * (1.0 - dt * (0.5 - dt * (1.0 / 6.0 - dt * (1.0 / 24.0))))
    return tl.where(dt < 0.03, series, 1.0 - tl.exp2(-dt * LOG2_E))


@triton.jit
def within(mask, t, last, EVEN: tl.constexpr):
    """A mask where step t is before the last, as every step is if ``EVEN``."""
    # As a tile: of one value and a tile the interpreter makes no mask.
    return mask if EVEN else mask & (tl.full(mask.shape, 0, tl.int32) + t < last)


@triton.jit
def read_cell(order, image, direction, t, last, L, WIDE: tl.constexpr):
    """The cell of the map, of all images, that a direction visits at step t."""
    return cell_at(tl.load(order + direction * L + tl.minimum(t, last - 1)), image, L, WIDE)


@triton.jit
def cell_at(position, image, L, WIDE: tl.constexpr):
    """The cell, of all images, of a position in one of them."""
    # Nothing is read or written outside the map, whatever the table says.
    return offset(image * L + tl.minimum(tl.maximum(position, 0), L - 1), WIDE)


@triton.jit
def read_values(pointer, at, mask):
    """Values in float32, whatever their type; 0 where masked."""
    return tl.load(pointer + at, mask=mask, other=0.0).to(tl.float32)
