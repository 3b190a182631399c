"""The backward kernel: from the last step to the first, the gradients of all inputs.

With lambda_t ("costate") the gradient of h_t, and g_t that of y_t,

    lambda_t = C_t g_t + a_(t+1) lambda_(t+1),

a scan in reverse. It needs every h_(t-1), which are not kept: from the state before a tile of T
steps, which the forward has kept in the carry, those before each two steps are computed again,
and from each of these the states of its two steps, in registers. (h_(t-1) cannot be had from h_t:
where the decay is small it has lost its digits.)
"""

# No "from __future__ import annotations": Triton reads the annotations of its functions.
import triton
import triton.language as tl

from mambaad.ops.selective_scan.triton.step import (
    LN_2,
    LOG2_E,
    cell_at,
    channel_numbers,
    offset,
    read_cell,
    read_values,
    softplus_gradient,
    state_numbers,
    sum_channels,
    sum_states,
    within,
)


@triton.jit
def _position(order, direction, t, last, L):
    """Where a direction is at step t; of steps outside the segment, anywhere."""
    return tl.load(order + direction * L + tl.maximum(tl.minimum(t, last - 1), 0))


@triton.jit
def _read_inputs(
    position, u, proj, dt, start, image, direction, t, last, n, d, is_n, is_d, L, D, K,
    R: tl.constexpr, N: tl.constexpr, WIDE: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """The cell of step t, and what the forward scan reads there: B, dt and u."""
    is_nt, is_dt = within(is_n, t, last, EVEN), within(is_d, t, last, EVEN)
    cell = cell_at(position, image, L, WIDE)
    B = tl.load(proj + (cell * K + direction) * (R + 2 * N) + R + n, mask=is_nt, other=0.0)
    # Beyond the segment nothing decays and nothing is added.
    dt_t = tl.load(dt + (start + t) * D + d, mask=is_dt, other=0.0)
    u_t = tl.load(u + cell * D + d, mask=is_dt, other=0.0)
    return cell, B, dt_t, u_t


@triton.jit
def _read_outputs(
    cell, proj, grad_y, direction, t, last, n, d, is_n, is_d, D, K, R: tl.constexpr,
    N: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """C and the gradient of y at the cell of step t."""
    is_nt, is_dt = within(is_n, t, last, EVEN), within(is_d, t, last, EVEN)
    C = tl.load(proj + (cell * K + direction) * (R + 2 * N) + R + N + n, mask=is_nt, other=0.0)
    return C, tl.load(grad_y + cell * D + d, mask=is_dt, other=0.0)


@triton.jit
def _read_two_inputs(
    p0, p1, u, proj, dt, start, image, direction, t, last, n, d, is_n, is_d, L, D, K,
    R: tl.constexpr, N: tl.constexpr, WIDE: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """``_read_inputs`` of steps t and t + 1, at the positions p0 and p1."""
    c0, B0, dt0, u0 = _read_inputs(
        p0, u, proj, dt, start, image, direction, t, last,
        n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
    )  # fmt: skip
    c1, B1, dt1, u1 = _read_inputs(
        p1, u, proj, dt, start, image, direction, t + 1, last,
        n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
    )  # fmt: skip
    return c0, B0, dt0, u0, c1, B1, dt1, u1


@triton.jit
def _read_two(
    p0, p1, u, proj, dt, grad_y, start, image, direction, t, last, n, d, is_n, is_d, L, D, K,
    R: tl.constexpr, N: tl.constexpr, WIDE: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """``_read_inputs`` and ``_read_outputs`` of steps t and t + 1."""
    c0, B0, dt0, u0, c1, B1, dt1, u1 = _read_two_inputs(
        p0, p1, u, proj, dt, start, image, direction, t, last,
        n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
    )  # fmt: skip
    C0, g0 = _read_outputs(c0, proj, grad_y, direction, t, last, n, d, is_n, is_d, D, K, R, N, EVEN)
    C1, g1 = _read_outputs(
        c1, proj, grad_y, direction, t + 1, last, n, d, is_n, is_d, D, K, R, N, EVEN
    )
    return c0, B0, C0, dt0, u0, g0, c1, B1, C1, dt1, u1, g1


@triton.jit
def _retreat(
    coming, sum_A, sum_skip, before, cell, B, C, dt_t, u_t, g, decay, after,
    dt, grad_u, grad_proj, A_d, skip_d, start, image, direction, t, last,
    n, d, is_n, is_d, L, D, K, R: tl.constexpr, N: tl.constexpr, WIDE: tl.constexpr,
    EVEN: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """One step of the reverse scan, from what was read and the states around it."""
    is_nt, is_dt = within(is_n, t, last, EVEN), within(is_d, t, last, EVEN)
    row = (cell * K + direction) * (R + 2 * N) + R
    costate = C * g + coming
    coming = decay * costate
    on_decay = coming * before  # lambda_t a_t h_(t-1)
    on_input = sum_states(costate * B)
    grad_dt = sum_states(on_decay * A_d) * LN_2 + on_input * u_t
    grad_z = grad_dt * softplus_gradient(dt_t)
    # In place of dt, which no other program reads.
    tl.store(dt + (start + t) * D + d, grad_z, mask=is_dt)
    grad_u_t = on_input * dt_t + skip_d * g
    grad_B, grad_C = sum_channels(costate * (dt_t * u_t)), sum_channels(after * g)
    if ATOMIC:
        tl.atomic_add(grad_u + cell * D + d, grad_u_t, mask=is_dt, sem="relaxed")
        tl.atomic_add(grad_proj + row + n, grad_B, mask=is_nt, sem="relaxed")
        tl.atomic_add(grad_proj + row + N + n, grad_C, mask=is_nt, sem="relaxed")
    else:
        own = start + cell - image * L
        tl.store(grad_u + own * D + d, grad_u_t, mask=is_dt)
        block, pairs = offset(tl.program_id(0), WIDE), tl.num_programs(2)
        part = grad_proj + (block * pairs * L + own) * (2 * N)
        tl.store(part + n, grad_B, mask=is_nt)
        tl.store(part + N + n, grad_C, mask=is_nt)
    return coming, sum_A + on_decay * dt_t, sum_skip + g * u_t


@triton.jit(do_not_specialize=["first_pair"])
def costate_kernel(
    proj, dt, A, order, grad_y, before, dt_sum, L, D, K, first_pair, steps, R: tl.constexpr,
    N: tl.constexpr, D1: tl.constexpr, D2: tl.constexpr, N2: tl.constexpr, N1: tl.constexpr,
    WIDE: tl.constexpr, EVEN: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Scan each segment in reverse from zero: what flows out ``before`` it, and its sum of dt."""
    segment, segments = tl.program_id(1), tl.num_programs(1)
    here = tl.program_id(2)
    image, direction = (first_pair + here) // K, (first_pair + here) % K
    n, d = state_numbers(N2, N1), channel_numbers(tl.program_id(0), D1, D2)
    is_n, is_d = n < N, d < D
    A_d = tl.load(A + (direction * D + d) * N + n, mask=is_n & is_d, other=0.0) * LOG2_E
    first, last = segment * steps, tl.minimum(L, (segment + 1) * steps)
    start = offset(here, WIDE) * L  # step of the pair, in dt
    coming = tl.zeros((D1, D2, N2, N1), tl.float32)
    total = tl.zeros((D1, D2, 1, 1), tl.float32)
    for back in tl.range(0, last - first, num_stages=STAGES):
        t = last - 1 - back
        cell = read_cell(order, image, direction, t, last, L, WIDE)
        C = read_values(proj, (cell * K + direction) * (R + 2 * N) + R + N + n, is_n)
        dt_t = tl.load(dt + (start + t) * D + d, mask=is_d, other=0.0)
        g = tl.load(grad_y + cell * D + d, mask=is_d, other=0.0)
        coming = tl.exp2(dt_t * A_d) * (C * g + coming)
        total += dt_t
    part = offset(here * segments + segment, WIDE)
    tl.store(before + (part * D + d) * N + n, coming, mask=is_n & is_d)
    tl.store(dt_sum + part * D + d, total, mask=is_d)


@triton.jit(do_not_specialize=["first_pair"])
def backward_kernel(
    u, proj, dt, A, skip, order, carry, grad_y, after, states,
    grad_u, grad_proj, grad_A, grad_skip, L, D, K, first_pair, steps, R: tl.constexpr,
    N: tl.constexpr, D1: tl.constexpr, D2: tl.constexpr, N2: tl.constexpr, N1: tl.constexpr,
    T: tl.constexpr, WIDE: tl.constexpr, STAGES: tl.constexpr, EVEN: tl.constexpr,
    ATOMIC: tl.constexpr,
):  # fmt: skip
    """Scan the segments in reverse from what flows in ``after`` them, and add to the gradients.

    That of z, from which dt = softplus(z), takes the place of dt; those of A and skip are stored
    for each segment. ``states``: room for the states before each two steps of a tile. ``EVEN``:
    L is a multiple of two. Not
    ``ATOMIC``: the gradients of u are stored for each direction, those of B and C for each
    direction and block of channels.
    """
    block, segment, segments = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    here = tl.program_id(2)  # the pair of image and direction, of those in dt
    pair = first_pair + here
    image, direction = pair // K, pair % K
    n, d = state_numbers(N2, N1), channel_numbers(block, D1, D2)
    is_n, is_d = n < N, d < D
    is_dn = is_n & is_d
    A_d = tl.load(A + (direction * D + d) * N + n, mask=is_dn, other=0.0) * LOG2_E
    skip_d = tl.load(skip + direction * D + d, mask=is_d, other=0.0)
    part = offset(here * segments + segment, WIDE)
    start = offset(here, WIDE) * L  # step of the pair, in dt
    state_at = (part * D + d) * N + n
    first, last = segment * steps, tl.minimum(L, (segment + 1) * steps)
    coming = tl.load(after + state_at, mask=is_dn, other=0.0)  # a lambda of the step that follows
    sum_A = tl.zeros((D1, D2, N2, N1), tl.float32)
    sum_skip = tl.zeros((D1, D2, 1, 1), tl.float32)

    SIZE: tl.constexpr = D1 * D2 * N2 * N1
    place = (d - block * (D1 * D2)) * (N2 * N1) + n
    room = states + (part * tl.num_programs(0) + block) * (T // 2 * SIZE) + place
    tiles = tl.cdiv(last - first, T)
    for back in range(0, tiles):
        tile = first + (tiles - 1 - back) * T
        kept = (offset(pair, WIDE) * tl.cdiv(L, T) + tile // T) * D + d
        h = tl.load(carry + kept * N + n, mask=is_dn, other=0.0)
        twos = tl.cdiv(tl.minimum(T, last - tile), 2)
        # A warp waits where it first uses what it has read. So two steps are read while the two
        # before them are computed, from positions that were read still earlier.
        p0 = _position(order, direction, tile, last, L)
        p1 = _position(order, direction, tile + 1, last, L)
        _c0, B0, dt0, u0, _c1, B1, dt1, u1 = _read_two_inputs(
            p0, p1, u, proj, dt, start, image, direction, tile, last,
            n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
        )  # fmt: skip
        p0 = _position(order, direction, tile + 2, last, L)
        p1 = _position(order, direction, tile + 3, last, L)
        for i in tl.range(0, twos, num_stages=1):
            t = tile + tl.minimum(i + 1, twos - 1) * 2  # of the last time, not used
            _c0, next_B0, next_dt0, next_u0, _c1, next_B1, next_dt1, next_u1 = _read_two_inputs(
                p0, p1, u, proj, dt, start, image, direction, t, last,
                n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
            )  # fmt: skip
            p0 = _position(order, direction, tile + i * 2 + 4, last, L)
            p1 = _position(order, direction, tile + i * 2 + 5, last, L)
            tl.store(room + i * SIZE, h)
            h = tl.exp2(dt0 * A_d) * h + (dt0 * u0) * B0
            h = tl.exp2(dt1 * A_d) * h + (dt1 * u1) * B1
            B0, dt0, u0, B1, dt1, u1 = next_B0, next_dt0, next_u0, next_B1, next_dt1, next_u1
        tl.debug_barrier()  # what one thread has stored another may load
        t = tile + (twos - 1) * 2
        p0 = _position(order, direction, t, last, L)
        p1 = _position(order, direction, t + 1, last, L)
        c0, B0, C0, dt0, u0, g0, c1, B1, C1, dt1, u1, g1 = _read_two(
            p0, p1, u, proj, dt, grad_y, start, image, direction, t, last,
            n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
        )  # fmt: skip
        p0 = _position(order, direction, t - 2, last, L)
        p1 = _position(order, direction, t - 1, last, L)
        for i in tl.range(0, twos, num_stages=1):
            h0 = tl.load(room + (twos - 1 - i) * SIZE)
            t = tile + (twos - 1 - i) * 2
            s = tl.maximum(t - 2, tile)  # the two steps before; of the last time, not used
            (
                next_c0, next_B0, next_C0, next_dt0, next_u0, next_g0,
                next_c1, next_B1, next_C1, next_dt1, next_u1, next_g1,
            ) = _read_two(
                p0, p1, u, proj, dt, grad_y, start, image, direction, s, last,
                n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN,
            )  # fmt: skip
            p0 = _position(order, direction, t - 4, last, L)
            p1 = _position(order, direction, t - 3, last, L)
            decay0, decay1 = tl.exp2(dt0 * A_d), tl.exp2(dt1 * A_d)
            h1 = decay0 * h0 + (dt0 * u0) * B0
            h2 = decay1 * h1 + (dt1 * u1) * B1
            coming, sum_A, sum_skip = _retreat(
                coming, sum_A, sum_skip, h1, c1, B1, C1, dt1, u1, g1, decay1, h2,
                dt, grad_u, grad_proj, A_d, skip_d, start, image, direction,
                t + 1, last, n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN, ATOMIC,
            )  # fmt: skip
            coming, sum_A, sum_skip = _retreat(
                coming, sum_A, sum_skip, h0, c0, B0, C0, dt0, u0, g0, decay0, h1,
                dt, grad_u, grad_proj, A_d, skip_d, start, image, direction,
                t, last, n, d, is_n, is_d, L, D, K, R, N, WIDE, EVEN, ATOMIC,
            )  # fmt: skip
            c0, B0, C0, dt0, u0, g0 = next_c0, next_B0, next_C0, next_dt0, next_u0, next_g0
            c1, B1, C1, dt1, u1, g1 = next_c1, next_B1, next_C1, next_dt1, next_u1, next_g1
        tl.debug_barrier()
    tl.store(grad_A + state_at, sum_A, mask=is_dn)
    tl.store(grad_skip + part * D + d, sum_skip, mask=is_d)
