"""The selective scan on a GPU: Triton kernels of the forward and the backward.

A program has one image, one direction, some channels, and a segment of the sequence. It goes
through the segment a tile of steps at a time; within a tile h_t = a_t h_(t-1) + b_t is an
associative scan of the pairs (a_t, b_t) over [steps, channels, states] (Blelloch 1990). It reads
the map through the order table, expands the time step itself, and adds what it finds where it
lands, so that nothing is permuted in memory. Where images, directions and channels do not fill
the device the sequence is cut into segments: a first pass finds the state at each one's end from
nothing, from which follow the states at their beginnings.

The backward goes through the tiles from the last to the first, and recomputes each tile's states
from the one before it, which the forward has kept. With lambda_t the gradient of h_t,

    lambda_t = C_t g_t + a_(t+1) lambda_(t+1),

a scan from behind. The gradient of a decay needs a_t h_(t-1) by itself: h_t - b_t would have lost
its digits where the decay is small, so the forward scan carries it beside h_t.

Inputs may be float32, bfloat16 or float16; all arithmetic and every sum is float32. Sums over
directions, images and channel blocks are atomic: results vary by rounding from run to run.
``TRITON_INTERPRET=1`` runs the same code on a CPU, slowly.
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

Tensors = tuple[torch.Tensor, ...]


class Tiling(NamedTuple):
    """Steps and channels of a tile, powers of two; segments of the sequence, 0 to choose."""

    steps: int = 16
    channels: int = 16
    segments: int = 0


TILING = Tiling()
_PROGRAMS_A_PROCESSOR = 8
"""As many programs as keep a multiprocessor busy while some of them wait for memory."""


@triton.jit
def _compose(a0, b0, a1, b1):
    return a0 * a1, a1 * b0 + b1


@triton.jit
def _compose_apart(a0, b0, c0, a1, b1, c1):
    """As _compose, with c what b is without what the last step adds."""
    return a0 * a1, a1 * b0 + b1, a1 * b0 + c1


@triton.jit
def _softplus(z):
    """log(1 + exp(z)), to float32's precision for small results too (Kahan's log1p)."""
    x = tl.exp(-tl.abs(z))
    w = 1.0 + x
    log1p = tl.where(w == 1.0, x, tl.log(w) * x / tl.where(w == 1.0, 1.0, w - 1.0))
    return tl.maximum(z, 0.0) + log1p


@triton.jit
def _sigmoid(z):
    """The derivative of softplus; no exponent overflows."""
    x = tl.exp(-tl.abs(z))
    return tl.where(z >= 0, 1.0, x) / (1.0 + x)


@triton.jit
def _read_steps(
    proj, order, W, bias, image, direction, t, is_step, L, K, R: tl.constexpr, N: tl.constexpr,
    RP: tl.constexpr, NP: tl.constexpr,
):  # fmt: skip
    """Where the steps read, their rows of proj, and dt before and after softplus."""
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
    # A step that is none: no decay, nothing added.
    dt = tl.where(is_step[:, None], _softplus(z), 0.0)
    return cell, row, low, z, dt


@triton.jit
def _read_states(row, offset, is_step, N: tl.constexpr, NP: tl.constexpr):
    """B or C of each step, steps x states."""
    n = tl.arange(0, NP)
    mask = is_step[:, None] & (n < N)[None, :]
    return tl.load(row[:, None] + offset + n[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _kept_at(both, tile, d, n, L, D, T: tl.constexpr, N: tl.constexpr):
    """Where the state before a tile is kept."""
    return ((both.to(tl.int64) * tl.cdiv(L, T) + tile) * D + d[:, None]) * N + n[None, :]


@triton.jit
def _read_parameters(
    dt_weight, dt_bias, A, skip, direction, d, D, R: tl.constexpr, N: tl.constexpr,
    RP: tl.constexpr, NP: tl.constexpr,
):  # fmt: skip
    """A direction's parameters of some channels; and where those of R and of N values lie."""
    n, r = tl.arange(0, NP), tl.arange(0, RP)
    is_d = d < D
    at = direction * D + d
    is_dr, is_dn = is_d[:, None] & (r < R)[None, :], is_d[:, None] & (n < N)[None, :]
    dr, dn = at[:, None] * R + r[None, :], at[:, None] * N + n[None, :]
    W = tl.load(dt_weight + dr, mask=is_dr, other=0.0)
    bias = tl.load(dt_bias + at, mask=is_d, other=0.0)
    rate = tl.load(A + dn, mask=is_dn, other=0.0)
    weight = tl.load(skip + at, mask=is_d, other=0.0)
    return W, bias, rate, weight, dr, is_dr, dn, is_dn


@triton.jit
def _forward_kernel(
    u, proj, dt_weight, dt_bias, A, skip, order, start, y, carry, end, dt_sum,
    L, D, K, tiles, R: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr,
    BD: tl.constexpr, T: tl.constexpr, STATES_ONLY: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    segment, segments = tl.program_id(1), tl.num_programs(1)
    both = tl.program_id(2)  # image and direction
    image, direction = both // K, both % K
    d = tl.program_id(0) * BD + tl.arange(0, BD)
    n, is_d = tl.arange(0, NP), d < D
    W, bias, rate, weight, _, _, _, is_dn = _read_parameters(
        dt_weight, dt_bias, A, skip, direction, d, D, R, N, RP, NP
    )

    own = (both * segments + segment).to(tl.int64)
    state_at = (own * D + d[:, None]) * N + n[None, :]
    h = tl.zeros((BD, NP), tl.float32)
    if not STATES_ONLY:
        h = tl.load(start + state_at, mask=is_dn, other=0.0)
    total = tl.zeros((BD,), tl.float32)
    is_last = tl.arange(0, T) == T - 1
    for tile in range(0, tl.minimum(tiles, tl.cdiv(L, T) - segment * tiles)):
        t = (segment * tiles + tile) * T + tl.arange(0, T)
        is_step = t < L
        cell, row, _, _, dt = _read_steps(
            proj, order, W, bias, image, direction, t, is_step, L, K, R, N, RP, NP
        )
        B = _read_states(row, R, is_step, N, NP)
        at = cell[:, None] * D + d[None, :]
        is_td = is_step[:, None] & is_d[None, :]
        u_t = tl.load(u + at, mask=is_td, other=0.0).to(tl.float32)
        if KEEP:
            kept = _kept_at(both, segment * tiles + tile, d, n, L, D, T, N)
            tl.store(carry + kept, h, mask=is_dn)
        decay = tl.exp(dt[:, :, None] * rate[None, :, :])
        added = (dt * u_t)[:, :, None] * B[:, None, :]
        since, alone = tl.associative_scan((decay, added), 0, _compose)
        states = alone + since * h[None, :, :]
        if not STATES_ONLY:
            C = _read_states(row, R + N, is_step, N, NP)
            y_t = tl.sum(states * C[:, None, :], axis=2) + weight[None, :] * u_t
            tl.atomic_add(y + at, y_t, mask=is_td)
        h = tl.sum(tl.where(is_last[:, None, None], states, 0.0), axis=0)
        total += tl.sum(dt, axis=0)
    if STATES_ONLY:
        tl.store(end + state_at, h, mask=is_dn)
        tl.store(dt_sum + own * D + d, total, mask=is_d)


@triton.jit
def _backward_kernel(
    u, proj, dt_weight, dt_bias, A, skip, order, carry, grad_y, after,
    grad_u, grad_proj, grad_dt_weight, grad_dt_bias, grad_A, grad_skip, before, dt_sum,
    L, D, K, tiles, R: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr,
    BD: tl.constexpr, T: tl.constexpr, COSTATES_ONLY: tl.constexpr,
):  # fmt: skip
    segment, segments = tl.program_id(1), tl.num_programs(1)
    both = tl.program_id(2)
    image, direction = both // K, both % K
    d = tl.program_id(0) * BD + tl.arange(0, BD)
    n, r, is_d = tl.arange(0, NP), tl.arange(0, RP), d < D
    W, bias, rate, weight, dr, is_dr, dn, is_dn = _read_parameters(
        dt_weight, dt_bias, A, skip, direction, d, D, R, N, RP, NP
    )

    own = (both * segments + segment).to(tl.int64)
    state_at = (own * D + d[:, None]) * N + n[None, :]
    # a lambda of the step after this tile.
    coming = tl.zeros((BD, NP), tl.float32)
    if not COSTATES_ONLY:
        coming = tl.load(after + state_at, mask=is_dn, other=0.0)
    sum_W = tl.zeros((BD, RP), tl.float32)
    sum_bias = tl.zeros((BD,), tl.float32)
    sum_A = tl.zeros((BD, NP), tl.float32)
    sum_skip = tl.zeros((BD,), tl.float32)
    total = tl.zeros((BD,), tl.float32)
    i = tl.arange(0, T)
    count = tl.minimum(tiles, tl.cdiv(L, T) - segment * tiles)
    for back in range(0, count):
        tile = count - 1 - back
        t = (segment * tiles + tile) * T + i
        is_step = t < L
        cell, row, low, z, dt = _read_steps(
            proj, order, W, bias, image, direction, t, is_step, L, K, R, N, RP, NP
        )
        C = _read_states(row, R + N, is_step, N, NP)
        at = cell[:, None] * D + d[None, :]
        is_td = is_step[:, None] & is_d[None, :]
        g = tl.load(grad_y + at, mask=is_td, other=0.0).to(tl.float32)
        # The decay of the step after each; of the tile's last one it is in ``coming``.
        has_next = (t + 1 < L) & (i < T - 1)
        _, _, _, _, next_dt = _read_steps(
            proj, order, W, bias, image, direction, t + 1, has_next, L, K, R, N, RP, NP
        )
        next_decay = tl.exp(next_dt[:, :, None] * rate[None, :, :])
        from_y = C[:, None, :] * g[:, :, None]
        until, alone = tl.associative_scan((next_decay, from_y), 0, _compose, reverse=True)
        costates = alone + until * coming[None, :, :]
        decay = tl.exp(dt[:, :, None] * rate[None, :, :])
        first = tl.where((i == 0)[:, None, None], decay * costates, 0.0)
        coming = tl.sum(first, axis=0)
        total += tl.sum(dt, axis=0)
        if not COSTATES_ONLY:
            B = _read_states(row, R, is_step, N, NP)
            u_t = tl.load(u + at, mask=is_td, other=0.0).to(tl.float32)
            kept_at = _kept_at(both, segment * tiles + tile, d, n, L, D, T, N)
            h = tl.load(carry + kept_at, mask=is_dn, other=0.0)
            added = (dt * u_t)[:, :, None] * B[:, None, :]
            since, alone, faded = tl.associative_scan(
                (decay, added, tl.zeros_like(added)), 0, _compose_apart
            )
            states = alone + since * h[None, :, :]
            kept = costates * (faded + since * h[None, :, :])  # lambda_t a_t h_(t-1)
            on_input = tl.sum(costates * B[:, None, :], axis=2)
            grad_dt = tl.sum(kept * rate[None, :, :], axis=2) + on_input * u_t
            grad_z = tl.where(is_td, grad_dt * _sigmoid(z), 0.0)
            tl.atomic_add(grad_u + at, on_input * dt + weight[None, :] * g, mask=is_td)
            grad_row = grad_proj + cell * (K * (R + 2 * N)) + direction * (R + 2 * N)
            grad_low = tl.sum(grad_z[:, :, None] * W[None, :, :], axis=1)
            grad_B = tl.sum(costates * (dt * u_t)[:, :, None], axis=1)
            grad_C = tl.sum(states * g[:, :, None], axis=1)
            is_tr = is_step[:, None] & (r < R)[None, :]
            is_tn = is_step[:, None] & (n < N)[None, :]
            tl.atomic_add(grad_row[:, None] + r[None, :], grad_low, mask=is_tr)
            tl.atomic_add(grad_row[:, None] + R + n[None, :], grad_B, mask=is_tn)
            tl.atomic_add(grad_row[:, None] + R + N + n[None, :], grad_C, mask=is_tn)
            sum_W += tl.sum(grad_z[:, :, None] * low[:, None, :], axis=0)
            sum_bias += tl.sum(grad_z, axis=0)
            sum_A += tl.sum(kept * dt[:, :, None], axis=0)
            sum_skip += tl.sum(g * u_t, axis=0)
    if COSTATES_ONLY:
        tl.store(before + state_at, coming, mask=is_dn)
        tl.store(dt_sum + own * D + d, total, mask=is_d)
    else:
        tl.atomic_add(grad_dt_weight + dr, sum_W, mask=is_dr)
        tl.atomic_add(grad_dt_bias + direction * D + d, sum_bias, mask=is_d)
        tl.atomic_add(grad_A + dn, sum_A, mask=is_dn)
        tl.atomic_add(grad_skip + direction * D + d, sum_skip, mask=is_d)


def carry_shape(u: torch.Tensor, A: torch.Tensor, tiling: Tiling = TILING) -> tuple[int, ...]:
    """Of the states that the backward starts from, one before each tile of the sequence."""
    tiles = -(-u.shape[1] // tiling.steps)
    return u.shape[0], A.shape[0], tiles, u.shape[2], A.shape[2]


def forward(inputs: Tensors, carry: torch.Tensor, tiling: Tiling = TILING) -> torch.Tensor:
    """The scan of u, proj, dt_weight, dt_bias, A, skip and order.

    Args:
        inputs: u and proj float32, bfloat16 or float16; order int32; the others float32.
        carry: filled, if it has any tile; float32, of :func:`carry_shape`.
        tiling: how the work is cut up.

    Returns:
        y in float32.
    """
    u, *_, A, _, _ = inputs = tuple(t.contiguous() for t in inputs)
    plan = _plan(inputs, tiling)
    y = _zeros(u, u.shape)
    if not u.numel():
        return y
    start = _zeros(u, plan.states)
    with torch.cuda.device_of(u):  # Triton launches on the current GPU
        if plan.segments > 1:
            end, dt_sum = _zeros(u, plan.states), _zeros(u, plan.states[:4])
            _forward_kernel[plan.grid](
                *inputs, start, y, carry, end, dt_sum, *plan.sizes, **plan.meta, STATES_ONLY=True,
                KEEP=False,
            )  # fmt: skip
            _chain(start, end, dt_sum, A, range(plan.segments))
        _forward_kernel[plan.grid](
            *inputs, start, y, carry, start, start, *plan.sizes, **plan.meta, STATES_ONLY=False,
            KEEP=carry.shape[2] > 0,
        )  # fmt: skip
    return y


def backward(
    inputs: Tensors, carry: torch.Tensor, grad_y: torch.Tensor, tiling: Tiling = TILING
) -> Tensors:
    """The gradients of all inputs but order, in their types.

    Args:
        inputs: those of :func:`forward`.
        carry: that it filled, with the same tiling.
        grad_y: of y.
        tiling: see there.
    """
    u, *_, A, _, _ = inputs = tuple(t.contiguous() for t in inputs)
    expected = carry_shape(u, A, tiling)
    if carry.shape != expected:
        raise ValueError(f"carry has shape {tuple(carry.shape)}, expected {expected}; keep it")
    plan = _plan(inputs, tiling, warps=8)  # it holds twice as much at a time
    grads = [_zeros(u, tensor.shape) for tensor in inputs[:-1]]
    if not u.numel():
        return tuple(g.to(t.dtype) for g, t in zip(grads, inputs, strict=False))
    with torch.cuda.device_of(u):
        given = (*inputs, carry.contiguous(), grad_y.contiguous())
        after = _zeros(u, plan.states)
        if plan.segments > 1:
            before, dt_sum = _zeros(u, plan.states), _zeros(u, plan.states[:4])
            _backward_kernel[plan.grid](
                *given, after, *grads, before, dt_sum, *plan.sizes, **plan.meta, COSTATES_ONLY=True
            )
            _chain(after, before, dt_sum, A, range(plan.segments)[::-1])
        _backward_kernel[plan.grid](
            *given, after, *grads, after, after, *plan.sizes, **plan.meta, COSTATES_ONLY=False
        )
    return tuple(g.to(t.dtype) for g, t in zip(grads, inputs, strict=False))


def _chain(
    at: torch.Tensor, own: torch.Tensor, dt_sum: torch.Tensor, A: torch.Tensor, order: range
) -> None:
    """Fill in what comes into each segment, from what each makes of nothing, in their order."""
    coming = torch.zeros_like(own[:, :, 0])
    for segment in order:
        at[:, :, segment] = coming
        decay = torch.exp(dt_sum[:, :, segment, :, None] * A)
        coming = decay * coming + own[:, :, segment]


def _zeros(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(tuple(shape), dtype=torch.float32, device=like.device)


class _Plan(NamedTuple):
    """How a scan is cut up: the grid of programs, and what the kernels are told of it."""

    grid: tuple[int, int, int]
    sizes: tuple[int, int, int, int]
    states: tuple[int, ...]
    meta: dict[str, Any]

    @property
    def segments(self) -> int:
        return self.grid[1]


def _plan(inputs: Tensors, tiling: Tiling, warps: int = 4) -> _Plan:
    u, _, dt_weight, _, A, *_ = inputs
    batch, length, channels = u.shape
    directions, _, rank = dt_weight.shape
    states = A.shape[2]
    blocks = -(-channels // tiling.channels)
    all_tiles = max(-(-length // tiling.steps), 1)
    segments = tiling.segments
    if not segments:
        segments = 1
        if u.is_cuda:
            processors = torch.cuda.get_device_properties(u.device).multi_processor_count
            wanted = _PROGRAMS_A_PROCESSOR * processors
            segments = wanted // max(batch * directions * blocks, 1)
    tiles = -(-all_tiles // min(max(segments, 1), all_tiles))
    segments = -(-all_tiles // tiles)
    meta = {
        "R": rank,
        "N": states,
        "RP": triton.next_power_of_2(rank),
        "NP": triton.next_power_of_2(states),
        "BD": tiling.channels,
        "T": tiling.steps,
        "num_warps": warps,
    }
    return _Plan(
        (blocks, segments, batch * directions),
        (length, channels, directions, tiles),
        (batch, directions, segments, channels, states),
        meta,
    )
