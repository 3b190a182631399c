"""Functions of both kernels: what they read of a tile, and what they compute of its values.

In here steps t, channels d, states n and ranks r are index vectors of T, BD, NP and RP values;
masks ``is_...`` leave out what lies beyond L, D, N and R.
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl


@triton.jit
def compose(a0, b0, a1, b1):
    """The step h -> a1 h + b1 after the step h -> a0 h + b0, as the pair (a, b) of one step."""
    return a0 * a1, a1 * b0 + b1


@triton.jit
def compose_apart(a0, b0, c0, a1, b1, c1):
    """As :func:`compose`, with c what b is without the term that the last step adds."""
    return a0 * a1, a1 * b0 + b1, a1 * b0 + c1


@triton.jit
def softplus(z):
    """log(1 + exp(z)), to float32's precision for small results too (Kahan's log1p)."""
    x = tl.exp(-tl.abs(z))
    w = 1.0 + x
    log1p = tl.where(w == 1.0, x, tl.log(w) * x / tl.where(w == 1.0, 1.0, w - 1.0))
    return tl.maximum(z, 0.0) + log1p


@triton.jit
def sigmoid(z):
    """The derivative of softplus; no exponent overflows."""
    x = tl.exp(-tl.abs(z))
    return tl.where(z >= 0, 1.0, x) / (1.0 + x)


@triton.jit
def read_parameters(
    dt_weight, dt_bias, A, skip, direction, d, D, R: tl.constexpr, N: tl.constexpr,
    RP: tl.constexpr, NP: tl.constexpr,
):  # fmt: skip
    """One direction's parameters of a block of channels.

    Also the offsets and masks of what has R values (dr) and N values (dn) a channel.
    """
    n, r = tl.arange(0, NP), tl.arange(0, RP)
    is_d = d < D
    at = direction * D + d
    is_dr, is_dn = is_d[:, None] & (r < R)[None, :], is_d[:, None] & (n < N)[None, :]
    dr, dn = at[:, None] * R + r[None, :], at[:, None] * N + n[None, :]
    W = tl.load(dt_weight + dr, mask=is_dr, other=0.0)
    bias = tl.load(dt_bias + at, mask=is_d, other=0.0)
    A_d = tl.load(A + dn, mask=is_dn, other=0.0)
    skip_d = tl.load(skip + at, mask=is_d, other=0.0)
    return W, bias, A_d, skip_d, dr, is_dr, dn, is_dn


@triton.jit
def read_steps(
    proj, order, W, bias, image, direction, t, is_step, L, K, R: tl.constexpr, N: tl.constexpr,
    RP: tl.constexpr, NP: tl.constexpr,
):  # fmt: skip
    """The cell of each step, its row of proj, low, and dt before and after softplus."""
    position = tl.load(order + direction * L + t, mask=is_step, other=0)
    # Nothing is read or written outside the map, whatever the table says.
    position = tl.minimum(tl.maximum(position, 0), L - 1)
    cell = (image * L + position).to(tl.int64)
    row = proj + cell * (K * (R + 2 * N)) + direction * (R + 2 * N)
    r = tl.arange(0, RP)
    low = tl.load(
        row[:, None] + r[None, :], mask=is_step[:, None] & (r < R)[None, :], other=0.0
    ).to(tl.float32)
    z = tl.sum(low[:, None, :] * W[None, :, :], axis=2) + bias[None, :]
    # Beyond the sequence nothing decays and nothing is added.
    dt = tl.where(is_step[:, None], softplus(z), 0.0)
    return cell, row, low, z, dt


@triton.jit
def read_states(row, offset, is_step, N: tl.constexpr, NP: tl.constexpr):
    """B or C of each step, steps x states."""
    n = tl.arange(0, NP)
    mask = is_step[:, None] & (n < N)[None, :]
    return tl.load(row[:, None] + offset + n[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def carry_offset(pair, tile, d, n, L, D, T: tl.constexpr, N: tl.constexpr):
    """The place in the carry of the state before a tile; ``pair``: image and direction."""
    return ((pair.to(tl.int64) * tl.cdiv(L, T) + tile) * D + d[:, None]) * N + n[None, :]
