"""The forward kernel: h_t = a_t h_(t-1) + b_t with a_t = exp(dt_t A) and b_t = dt_t u_t B_t."""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl

from mambaad.ops.selective_scan.triton.tile import (
    carry_offset,
    compose,
    read_parameters,
    read_states,
    read_steps,
)


@triton.jit
def forward_kernel(
    u, proj, dt_weight, dt_bias, A, skip, order, start, y, carry, end, dt_sum,
    L, D, K, tiles, R: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr,
    BD: tl.constexpr, T: tl.constexpr, STATES_ONLY: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Scan the segments from the states in ``start``, and add to ``y``; ``KEEP``: fill ``carry``.

    With ``STATES_ONLY`` from zero states, and only into ``end`` and ``dt_sum``: the state at the
    end of each segment and the sum of its dt.
    """
    segment, segments = tl.program_id(1), tl.num_programs(1)
    pair = tl.program_id(2)
    image, direction = pair // K, pair % K
    d = tl.program_id(0) * BD + tl.arange(0, BD)
    n, is_d = tl.arange(0, NP), d < D
    W, bias, A_d, skip_d, _, _, _, is_dn = read_parameters(
        dt_weight, dt_bias, A, skip, direction, d, D, R, N, RP, NP
    )

    part = (pair * segments + segment).to(tl.int64)
    state_at = (part * D + d[:, None]) * N + n[None, :]
    h = tl.zeros((BD, NP), tl.float32)
    if not STATES_ONLY:
        h = tl.load(start + state_at, mask=is_dn, other=0.0)
    total = tl.zeros((BD,), tl.float32)
    is_last = tl.arange(0, T) == T - 1

    for tile in range(0, tl.minimum(tiles, tl.cdiv(L, T) - segment * tiles)):
        t = (segment * tiles + tile) * T + tl.arange(0, T)
        is_step = t < L
        # Not "_" for the unused ones: a loop must not change the type of a name from before it.
        cell, row, _low, _z, dt = read_steps(
            proj, order, W, bias, image, direction, t, is_step, L, K, R, N, RP, NP
        )
        B = read_states(row, R, is_step, N, NP)
        at = cell[:, None] * D + d[None, :]
        is_td = is_step[:, None] & is_d[None, :]
        u_t = tl.load(u + at, mask=is_td, other=0.0).to(tl.float32)
        if KEEP:
            carry_at = carry_offset(pair, segment * tiles + tile, d, n, L, D, T, N)
            tl.store(carry + carry_at, h, mask=is_dn)

        decay = tl.exp(dt[:, :, None] * A_d[None, :, :])
        added = (dt * u_t)[:, :, None] * B[:, None, :]
        since, alone = tl.associative_scan((decay, added), 0, compose)
        states = alone + since * h[None, :, :]

        if not STATES_ONLY:
            C = read_states(row, R + N, is_step, N, NP)
            y_t = tl.sum(states * C[:, None, :], axis=2) + skip_d[None, :] * u_t
            tl.atomic_add(y + at, y_t, mask=is_td)
        h = tl.sum(tl.where(is_last[:, None, None], states, 0.0), axis=0)
        total += tl.sum(dt, axis=0)

    if STATES_ONLY:
        tl.store(end + state_at, h, mask=is_dn)
        tl.store(dt_sum + part * D + d, total, mask=is_d)
