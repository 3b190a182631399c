"""The forward kernel: h_t = a_t h_(t-1) + b_t with a_t = exp(dt_t A) and b_t = dt_t u_t B_t."""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl

from mambaad.ops.selective_scan.triton.step import (
    LOG2_E,
    channel_numbers,
    offset,
    read_cell,
    read_values,
    state_numbers,
    sum_states,
    within,
)


@triton.jit(do_not_specialize=["first_pair"])
def forward_kernel(
    u, proj, dt, A, skip, order, start, y, carry, end, dt_sum,
    L, D, K, first_pair, steps, R: tl.constexpr, N: tl.constexpr, D1: tl.constexpr,
    D2: tl.constexpr, N2: tl.constexpr, N1: tl.constexpr, T: tl.constexpr, STAGES: tl.constexpr,
    WIDE: tl.constexpr, EVEN: tl.constexpr, STATES_ONLY: tl.constexpr, KEEP: tl.constexpr,
    ATOMIC: tl.constexpr,
):  # fmt: skip
    """Scan the segments from the states in ``start``, and add to ``y``; ``KEEP``: fill ``carry``.

    ``STATES_ONLY``: from zero states, and only into ``end`` and ``dt_sum``, the state at the end
    of each segment and the sum of its dt. ``EVEN``: L is a multiple of four. Not ``ATOMIC``: store
    into ``y`` of each direction.
    """
    segment, segments = tl.program_id(1), tl.num_programs(1)
    here = tl.program_id(2)  # the pair of image and direction, of those in dt
    pair = first_pair + here
    image, direction = pair // K, pair % K
    n, d = state_numbers(N2, N1), channel_numbers(tl.program_id(0), D1, D2)
    is_n, is_d = n < N, d < D
    is_dn = is_n & is_d
    A_d = tl.load(A + (direction * D + d) * N + n, mask=is_dn, other=0.0) * LOG2_E
    skip_d = tl.load(skip + direction * D + d, mask=is_d, other=0.0)

    first = offset(here, WIDE) * L  # step of the pair, in dt
    state_at = (offset(here * segments + segment, WIDE) * D + d) * N + n
    h = tl.zeros((D1, D2, N2, N1), tl.float32)
    if not STATES_ONLY:
        h = tl.load(start + state_at, mask=is_dn, other=0.0)
    total = tl.zeros((D1, D2, 1, 1), tl.float32)
    begin, last = segment * steps, tl.minimum(L, (segment + 1) * steps)
    for four in tl.range(0, tl.cdiv(last - begin, 4), num_stages=STAGES):
        if KEEP:  # noqa: SIM102 (known when it is compiled, and the next is not)
            if four % (T // 4) == 0:
                tile = offset(pair, WIDE) * tl.cdiv(L, T) + (begin + four * 4) // T
                tl.store(carry + (tile * D + d) * N + n, h, mask=is_dn)
        for i in tl.static_range(4):
            t = begin + four * 4 + i
            is_nt, is_dt = within(is_n, t, last, EVEN), within(is_d, t, last, EVEN)
            cell = read_cell(order, image, direction, t, last, L, WIDE)
            row = (cell * K + direction) * (R + 2 * N) + R
            B = read_values(proj, row + n, is_nt)
            # Beyond the segment nothing decays and nothing is added.
            dt_t = tl.load(dt + (first + t) * D + d, mask=is_dt, other=0.0)
            u_t = read_values(u, cell * D + d, is_dt)
            h = tl.exp2(dt_t * A_d) * h + (dt_t * u_t) * B
            if STATES_ONLY:
                total += dt_t
            else:
                C = read_values(proj, row + N + n, is_nt)
                y_t = sum_states(h * C) + skip_d * u_t
                if ATOMIC:
                    tl.atomic_add(y + cell * D + d, y_t, mask=is_dt, sem="relaxed")
                else:
                    own = first + cell - image * L
                    tl.store(y + own * D + d, y_t, mask=is_dt)

    if STATES_ONLY:
        tl.store(end + state_at, h, mask=is_dn)
        tl.store(dt_sum + (here * segments + segment) * D + d, total, mask=is_d)
