"""The kernels of the time step: dt = softplus(W low + bias), and its gradients.

They are matrix products over a tile of steps and a block of channels, so that the scan reads dt
instead of R values and R weights a channel. dt is stored in the order of each direction's steps:
[pairs of image and direction, L, D].
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl


@triton.jit
def softplus(z):
    """log(1 + exp(z)), to float32's precision for small results too (Kahan's log1p)."""
    x = tl.exp(-tl.abs(z))
    w = 1.0 + x
    log1p = tl.where(w == 1.0, x, tl.log(w) * x / tl.where(w == 1.0, 1.0, w - 1.0))
    return tl.maximum(z, 0.0) + log1p


@triton.jit
def _read_low(proj, order, image, direction, t, r, L, K, R: tl.constexpr, N: tl.constexpr):
    """low of a tile of steps, [steps, ranks], and where it is stored."""
    position = tl.load(order + direction * L + t, mask=t < L, other=0)
    # Nothing is read or written outside the map, whatever the table says.
    cell = (image * L + tl.minimum(tl.maximum(position, 0), L - 1)).to(tl.int64)
    at = ((cell * K + direction) * (R + 2 * N))[:, None] + r[None, :]
    is_tr = (t < L)[:, None] & (r < R)[None, :]
    return tl.load(proj + at, mask=is_tr, other=0.0).to(tl.float32), at, is_tr


@triton.jit(do_not_specialize=["first_pair"])
def expand_kernel(
    proj, dt_weight, dt_bias, order, dt, L, D, K, first_pair, R: tl.constexpr, N: tl.constexpr,
    RP: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fill dt of a tile of steps and a block of channels."""
    here = tl.program_id(2)
    image, direction = (first_pair + here) // K, (first_pair + here) % K
    t = tl.program_id(0) * BT + tl.arange(0, BT)
    d, r = tl.program_id(1) * BD + tl.arange(0, BD), tl.arange(0, RP)
    low, _, _ = _read_low(proj, order, image, direction, t, r, L, K, R, N)
    at = direction * D + d
    W = tl.load(
        dt_weight + at[None, :] * R + r[:, None],
        mask=(d < D)[None, :] & (r < R)[:, None], other=0.0,
    )  # fmt: skip
    bias = tl.load(dt_bias + at, mask=d < D, other=0.0)
    z = tl.dot(low, W, input_precision=PRECISION) + bias[None, :]
    place = (here.to(tl.int64) * L + t)[:, None] * D + d[None, :]
    tl.store(dt + place, softplus(z), mask=(t < L)[:, None] & (d < D)[None, :])


@triton.jit(do_not_specialize=["first_pair"])
def low_gradient_kernel(
    grad_z, dt_weight, order, grad_proj, L, D, K, first_pair, R: tl.constexpr,
    N: tl.constexpr, RP: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Store the gradient of low of a tile of steps: the sum over channels of grad_z W."""
    here = tl.program_id(1)
    image, direction = (first_pair + here) // K, (first_pair + here) % K
    t, r = tl.program_id(0) * BT + tl.arange(0, BT), tl.arange(0, RP)
    total = tl.zeros((BT, RP), tl.float32)
    for block in range(0, tl.cdiv(D, BD)):
        d = block * BD + tl.arange(0, BD)
        place = (here.to(tl.int64) * L + t)[:, None] * D + d[None, :]
        g = tl.load(grad_z + place, mask=(t < L)[:, None] & (d < D)[None, :], other=0.0)
        W = tl.load(
            dt_weight + (direction * D + d)[:, None] * R + r[None, :],
            mask=(d < D)[:, None] & (r < R)[None, :], other=0.0,
        )  # fmt: skip
        total += tl.dot(g, W, input_precision=PRECISION)
    position = tl.load(order + direction * L + t, mask=t < L, other=0)
    cell = (image * L + tl.minimum(tl.maximum(position, 0), L - 1)).to(tl.int64)
    at = ((cell * K + direction) * (R + 2 * N))[:, None] + r[None, :]
    tl.store(grad_proj + at, total, mask=(t < L)[:, None] & (r < R)[None, :])


@triton.jit(do_not_specialize=["first_pair", "tiles_in_all", "tiles_of_part"])
def weight_gradient_kernel(
    grad_z, proj, order, grad_dt_weight, grad_dt_bias, L, D, K, first_pair, tiles_in_all,
    tiles_of_part, R: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, BT: tl.constexpr,
    BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Store a part of the gradients of W and bias: of some tiles of steps, of all images'."""
    part, direction = tl.program_id(1), tl.program_id(2)
    d, r = tl.program_id(0) * BD + tl.arange(0, BD), tl.arange(0, RP)
    sum_W, sum_bias = tl.zeros((BD, RP), tl.float32), tl.zeros((BD,), tl.float32)
    tiles = tl.cdiv(L, BT)
    end = tl.minimum(tiles_in_all, (part + 1) * tiles_of_part)
    for number in range(part * tiles_of_part, end):
        image = number // tiles  # of those in grad_z
        t = (number % tiles) * BT + tl.arange(0, BT)
        low, _, _ = _read_low(proj, order, first_pair // K + image, direction, t, r, L, K, R, N)
        place = ((image * K + direction).to(tl.int64) * L + t)[None, :] * D + d[:, None]
        g = tl.load(grad_z + place, mask=(t < L)[None, :] & (d < D)[:, None], other=0.0)
        sum_W += tl.dot(g, low, input_precision=PRECISION)
        sum_bias += tl.sum(g, axis=1)
    at = (part * K + direction).to(tl.int64) * D + d
    tl.store(
        grad_dt_weight + at[:, None] * R + r[None, :], sum_W,
        mask=(d < D)[:, None] & (r < R)[None, :],
    )  # fmt: skip
    tl.store(grad_dt_bias + at, sum_bias, mask=d < D)
