"""The backward kernel: from the last tile to the first, the gradients of all inputs.

Each tile's states are computed again from the state before it, which the forward has kept in the
carry. With lambda_t ("costate") the gradient of h_t, and g_t that of y_t,

    lambda_t = C_t g_t + a_(t+1) lambda_(t+1),

a scan in reverse. The gradient of a decay needs a_t h_(t-1) by itself: h_t - b_t would have lost
its digits where the decay is small, so the forward scan carries it beside h_t.
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl

from mambaad.ops.selective_scan.triton.tile import (
    carry_offset,
    compose,
    compose_apart,
    read_parameters,
    read_states,
    read_steps,
    sigmoid,
)


@triton.jit
def backward_kernel(
    u, proj, dt_weight, dt_bias, A, skip, order, carry, grad_y, after,
    grad_u, grad_proj, grad_dt_weight, grad_dt_bias, grad_A, grad_skip, before, dt_sum,
    L, D, K, tiles, R: tl.constexpr, N: tl.constexpr, RP: tl.constexpr, NP: tl.constexpr,
    BD: tl.constexpr, T: tl.constexpr, COSTATES_ONLY: tl.constexpr,
):  # fmt: skip
    """Scan the segments in reverse from what flows in ``after`` them, and add to the gradients.

    With ``COSTATES_ONLY`` from zero, and only into ``before`` and ``dt_sum``: what flows out
    before each segment and the sum of its dt.
    """
    segment, segments = tl.program_id(1), tl.num_programs(1)
    pair = tl.program_id(2)
    image, direction = pair // K, pair % K
    d = tl.program_id(0) * BD + tl.arange(0, BD)
    n, r, is_d = tl.arange(0, NP), tl.arange(0, RP), d < D
    W, bias, A_d, skip_d, dr, is_dr, dn, is_dn = read_parameters(
        dt_weight, dt_bias, A, skip, direction, d, D, R, N, RP, NP
    )

    part = (pair * segments + segment).to(tl.int64)
    state_at = (part * D + d[:, None]) * N + n[None, :]
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
        cell, row, low, z, dt = read_steps(
            proj, order, W, bias, image, direction, t, is_step, L, K, R, N, RP, NP
        )
        C = read_states(row, R + N, is_step, N, NP)
        at = cell[:, None] * D + d[None, :]
        is_td = is_step[:, None] & is_d[None, :]
        g = tl.load(grad_y + at, mask=is_td, other=0.0).to(tl.float32)

        # The decay of the step after each; that after the tile's last one is in ``coming``.
        has_next = (t + 1 < L) & (i < T - 1)
        _, _, _, _, next_dt = read_steps(
            proj, order, W, bias, image, direction, t + 1, has_next, L, K, R, N, RP, NP
        )
        next_decay = tl.exp(next_dt[:, :, None] * A_d[None, :, :])
        from_y = C[:, None, :] * g[:, :, None]
        until, alone = tl.associative_scan((next_decay, from_y), 0, compose, reverse=True)
        costates = alone + until * coming[None, :, :]
        decay = tl.exp(dt[:, :, None] * A_d[None, :, :])
        first = tl.where((i == 0)[:, None, None], decay * costates, 0.0)
        coming = tl.sum(first, axis=0)
        total += tl.sum(dt, axis=0)

        if not COSTATES_ONLY:
            B = read_states(row, R, is_step, N, NP)
            u_t = tl.load(u + at, mask=is_td, other=0.0).to(tl.float32)
            carry_at = carry_offset(pair, segment * tiles + tile, d, n, L, D, T, N)
            h = tl.load(carry + carry_at, mask=is_dn, other=0.0)
            added = (dt * u_t)[:, :, None] * B[:, None, :]
            since, alone, faded = tl.associative_scan(
                (decay, added, tl.zeros_like(added)), 0, compose_apart
            )
            states = alone + since * h[None, :, :]

            on_decay = costates * (faded + since * h[None, :, :])  # lambda_t a_t h_(t-1)
            on_input = tl.sum(costates * B[:, None, :], axis=2)
            grad_dt = tl.sum(on_decay * A_d[None, :, :], axis=2) + on_input * u_t
            grad_z = tl.where(is_td, grad_dt * sigmoid(z), 0.0)
            tl.atomic_add(grad_u + at, on_input * dt + skip_d[None, :] * g, mask=is_td)

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
            sum_A += tl.sum(on_decay * dt[:, :, None], axis=0)
            sum_skip += tl.sum(g * u_t, axis=0)

    if COSTATES_ONLY:
        tl.store(before + state_at, coming, mask=is_dn)
        tl.store(dt_sum + part * D + d, total, mask=is_d)
    else:
        tl.atomic_add(grad_dt_weight + dr, sum_W, mask=is_dr)
        tl.atomic_add(grad_dt_bias + direction * D + d, sum_bias, mask=is_d)
        tl.atomic_add(grad_A + dn, sum_A, mask=is_dn)
        tl.atomic_add(grad_skip + direction * D + d, sum_skip, mask=is_d)
