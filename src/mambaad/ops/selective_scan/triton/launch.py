"""The scan and its gradients as functions of tensors: divide the work, and launch the kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import triton

from mambaad.ops.selective_scan.triton.backward import backward_kernel, costate_kernel
from mambaad.ops.selective_scan.triton.forward import forward_kernel
from mambaad.ops.selective_scan.triton.time_steps import (
    expand_kernel,
    low_gradient_kernel,
    weight_gradient_kernel,
)

Tensors = tuple[torch.Tensor, ...]

SCRATCH = 2**30
"""Bytes of the time steps that are held at a time; more images are scanned one group after another.

A single image takes 4 K L D bytes, however many. Where the order of sums must be fixed (see
:func:`forward`), what is held for each direction and block of channels counts too.
"""
_MOST_PAIRS = 65535
"""Pairs of image and direction: a grid's third dimension has no more."""
_MOST_SEGMENTS = 64


class Tiling(NamedTuple):
    """How a scan is divided; all are powers of two but ``segments``.

    ``steps`` between two states that are kept for the backward, 4 or more; ``channels`` of a
    program, 0: by the number of states; ``segments`` of the sequence, 0: by the device.
    """

    steps: int = 16
    channels: int = 0
    segments: int = 0


TILING = Tiling()
_PROGRAMS_A_PROCESSOR = 8
"""Enough programs of a warp each to keep a multiprocessor busy while some wait for memory."""
_SHORTEST_SEGMENT = 256
"""Steps below which a segment saves less than finding its first state costs."""
WIDTHS = {"atomic": 16, "fixed": 8}
"""Channels of a program, of 16 states; in a backward with a fixed order of sums fewer. As many
values in a lane as leave registers for what is computed of them. (On an H100, a forward with 32
channels took 1.8 times as long at 16 x 16 cells, and a backward with 8 or 32 channels 1.3 times.)
"""
STAGES = 3
"""Iterations of the forward, of four steps each, whose values are on their way from memory."""
_BLOCK_OF_STEPS, _BLOCK_OF_CHANNELS = 64, 32
"""The tiles of the time step's matrix products."""


class _Plan(NamedTuple):
    """The division of a scan of some images: the grid of programs, and the kernels' arguments."""

    grid: tuple[int, int, int]  # blocks of channels, segments, pairs of image and direction
    sizes: tuple[int, int, int, int, int]  # L, D, K, the first pair, steps of a segment
    tile: dict[str, int]  # compile-time arguments of the scan
    product: dict[str, Any]  # and of the time step's products

    @property
    def state_shape(self) -> tuple[int, int, int, int]:
        """Of one state a segment: pairs, segments, D, N."""
        return self.grid[2], self.grid[1], self.sizes[1], self.tile["N"]


def tile_of(states: int, channels: int) -> dict[str, int]:
    """The tile of a program: 32 lanes of states and channels, and what each lane has of them."""
    padded = triton.next_power_of_2(states)
    together = min(padded, 4)  # side by side in memory, read as one vector
    lanes = padded // together
    beside = min(channels, max(32 // lanes, 1))
    return {"D1": channels // beside, "D2": beside, "N2": lanes, "N1": together}


def product_of(rank: int, *, hip: bool = torch.version.hip is not None) -> dict[str, Any]:
    """The tile of a product over the rank, which tensor cores take from 16 values up."""
    return {
        "RP": max(triton.next_power_of_2(rank), 16),
        "BT": _BLOCK_OF_STEPS,
        "BD": _BLOCK_OF_CHANNELS,
        "PRECISION": "ieee" if hip else "tf32x3",  # both of float32's precision
    }


def product_warps(rank: int) -> int:
    """The warps of a program of these products: more where four would spill registers."""
    return 4 if rank <= 16 else 8


def channels_of(states: int, width: str) -> int:
    """The channels of a program, for one of ``WIDTHS``: fewer of more than 16 states."""
    channels = WIDTHS[width]
    return channels if states <= 16 else max(8 * channels // triton.next_power_of_2(states), 4)


def _plans(
    inputs: Tensors, tiling: Tiling, *, backward: bool = False
) -> Iterator[tuple[slice, _Plan]]:
    """Groups of images, each with its plan, so that their time steps fit into ``SCRATCH``."""
    u, _, dt_weight, _, A, *_ = inputs
    batch, length, channels = u.shape
    directions, _, rank = dt_weight.shape
    states, wanted = A.shape[2], _wanted_programs(u.device)
    row = channels  # values of a step and direction
    if backward and not _atomic():
        row += channels + 2 * states * -(-channels // channels_of(states, "fixed"))
    at_once = max(min(SCRATCH // (4 * directions * length * row), _MOST_PAIRS // directions), 1)
    at_once = -(-batch // -(-batch // at_once))  # groups of a size need one set of kernels
    for first in range(0, batch, at_once):
        images = slice(first, min(first + at_once, batch))
        pairs = (images.stop - first) * directions
        width = "fixed" if backward and not _atomic() else "atomic"
        block = tiling.channels or channels_of(states, width)
        tile, blocks = tile_of(states, block), -(-channels // block)
        most = max(min(length // _SHORTEST_SEGMENT, _MOST_SEGMENTS), 1)
        segments = tiling.segments or max(min(wanted // (blocks * pairs), most), 1)
        tiles = -(-length // tiling.steps)
        steps = -(-tiles // min(segments, tiles)) * tiling.steps
        largest = max(
            batch * length * max(channels, directions * (rank + 2 * states)),
            pairs * length * max(channels, 2 * states * blocks),
            batch * directions * tiles * channels * states,
            pairs * segments * blocks * (tiling.steps // 2) * block * tile["N1"] * tile["N2"],
        )
        yield (
            images,
            _Plan(
                (blocks, -(-length // steps), pairs),
                (length, channels, directions, first * directions, steps),
                {
                    "R": rank,
                    "N": states,
                    **tile,
                    "WIDE": largest >= 2**31,
                    "EVEN": length % 4 == 0,
                    "STAGES": STAGES,
                    "num_warps": 1,
                },
                {"R": rank, "N": states, **product_of(rank), "num_warps": product_warps(rank)},
            ),
        )


def _wanted_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return _PROGRAMS_A_PROCESSOR * processors


def carry_shape(u: torch.Tensor, A: torch.Tensor, tiling: Tiling = TILING) -> tuple[int, ...]:
    """The shape of the states that the backward starts from: one before each tile of steps."""
    tiles = -(-u.shape[1] // tiling.steps)
    return u.shape[0], A.shape[0], tiles, u.shape[2], A.shape[2]


def forward(inputs: Tensors, carry: torch.Tensor, tiling: Tiling = TILING) -> torch.Tensor:
    """The scan of u, proj, dt_weight, dt_bias, A, skip and order.

    Sums over directions are atomic, and vary by rounding from run to run, unless
    ``torch.use_deterministic_algorithms`` asks for a fixed order: that takes more memory and time.

    Args:
        inputs: u and proj float32, bfloat16 or float16; order int32; the others float32.
        carry: float32, filled; of :func:`carry_shape`, or without tiles to keep no states.
        tiling: the division of the work.

    Returns:
        y in float32; of an ``order`` that is no permutation, any values.
    """
    u, proj, _, _, A, skip, order = inputs = _prepared(inputs)
    y = _zeros(u, u.shape)
    if not u.numel() or not len(A):
        return y
    flags = {"T": tiling.steps, "KEEP": carry.shape[2] > 0, "ATOMIC": _atomic()}
    # Triton launches on the current GPU, and nothing here is for autocast.
    with torch.cuda.device_of(u), torch.autocast(u.device.type, enabled=False):
        for images, plan in _plans(inputs, tiling):
            dt = _expand(inputs, plan)
            start = _zeros(u, plan.state_shape)
            if plan.grid[1] > 1:
                end, dt_sum = torch.empty_like(start), _empty(u, plan.state_shape[:3])
                forward_kernel[plan.grid](
                    u, proj, dt, A, skip, order, start, y, carry, end, dt_sum, *plan.sizes,
                    **plan.tile, **flags | {"KEEP": False}, STATES_ONLY=True,
                )  # fmt: skip
                start = _chain(end, dt_sum, A)
            out = y if flags["ATOMIC"] else torch.empty_like(dt)
            forward_kernel[plan.grid](
                u, proj, dt, A, skip, order, start, out, carry, start, start, *plan.sizes,
                **plan.tile, **flags, STATES_ONLY=False,
            )  # fmt: skip
            if out is not y:
                y[images] = _by_image(out, plan).sum(1)
    return y


def backward(
    inputs: Tensors, carry: torch.Tensor, grad_y: torch.Tensor, tiling: Tiling = TILING
) -> Tensors:
    """The gradients of all inputs but order, in the inputs' dtypes.

    Args:
        inputs: those of :func:`forward`.
        carry: filled by :func:`forward` with the same tiling.
        grad_y: float32, the gradient of y.
        tiling: that of :func:`forward`.

    Raises:
        ValueError: ``carry`` has no states, or those of another tiling.
    """
    dtypes = [t.dtype for t in inputs]
    u, _, _, _, A, *_ = inputs = _prepared(inputs)
    expected = carry_shape(u, A, tiling)
    if carry.shape != expected:
        raise ValueError(
            f"carry has shape {tuple(carry.shape)}, expected {expected}: give forward one to fill"
        )
    grads = tuple(_zeros(u, tensor.shape) for tensor in inputs[:-1])
    if u.numel() and len(A):
        carry, grad_y = carry.contiguous(), grad_y.contiguous()
        with torch.cuda.device_of(u), torch.autocast(u.device.type, enabled=False):
            for images, plan in _plans(inputs, tiling, backward=True):
                _add_gradients(grads, inputs, carry, grad_y, images, plan, tiling)
    return tuple(g.to(dtype) for g, dtype in zip(grads, dtypes, strict=False))


def _prepared(inputs: Tensors) -> Tensors:
    """The inputs as the kernels read them; maps in half precision as float32.

    Two bytes a lane cannot be copied ahead (cp.async takes four or more): on an H100 the kernels
    took nearly twice as long with bfloat16 maps, against which a copy is nothing.
    """
    *maps, order = inputs
    return (*(t.contiguous().float() for t in maps), order.contiguous())


def _add_gradients(
    grads: Tensors,
    inputs: Tensors,
    carry: torch.Tensor,
    grad_y: torch.Tensor,
    images: slice,
    plan: _Plan,
    tiling: Tiling,
) -> None:
    """Add what some images give to the gradients."""
    u, proj, _, _, A, skip, order = inputs
    grad_u, grad_proj, grad_W, grad_bias, grad_A, grad_skip = grads
    (blocks, segments, pairs), (length, channels, directions, *_) = plan.grid, plan.sizes
    states, rank = plan.tile["N"], plan.tile["R"]
    dt = _expand(inputs, plan)
    after = _zeros(u, plan.state_shape)
    if segments > 1:
        before, dt_sum = torch.empty_like(after), _empty(u, plan.state_shape[:3])
        costate_kernel[plan.grid](
            proj, dt, A, order, grad_y, before, dt_sum, *plan.sizes, **plan.tile
        )
        after = _chain(before.flip(1), dt_sum.flip(1), A).flip(1)

    atomic = _atomic()
    parts_u, parts_proj = grad_u, grad_proj
    if not atomic:
        parts_u = torch.empty_like(dt)
        parts_proj = _empty(u, (blocks, pairs, length, 2 * states))
    parts_A, parts_skip = torch.empty_like(after), _empty(u, plan.state_shape[:3])
    tile = plan.tile["N1"] * plan.tile["N2"] * plan.tile["D1"] * plan.tile["D2"]
    room = _empty(u, (pairs * segments * blocks * (tiling.steps // 2) * tile,))
    backward_kernel[plan.grid](
        u, proj, dt, A, skip, order, carry, grad_y, after, room, parts_u, parts_proj, parts_A,
        parts_skip, *plan.sizes, **plan.tile, T=tiling.steps, ATOMIC=atomic,
    )  # fmt: skip
    grad_A += _by_image(parts_A, plan).sum((0, 2))
    grad_skip += _by_image(parts_skip, plan).sum((0, 2))
    if not atomic:
        grad_u[images] = _by_image(parts_u, plan).sum(1)
        rows = grad_proj[images].unflatten(2, (directions, rank + 2 * states))
        rows[..., rank:] = _by_image(parts_proj.sum(0), plan).transpose(1, 2)

    # dt holds the gradient of z now.
    product = plan.product
    tiles = -(-length // product["BT"])
    low_gradient_kernel[(tiles, pairs)](dt, inputs[2], order, grad_proj, *plan.sizes[:4], **product)
    parts = min(tiles, 8)
    steps = -(-tiles // parts) * product["BT"]
    parts = -(-length // steps)
    parts_W = _empty(u, (pairs, parts, channels, rank))
    parts_bias = _empty(u, (pairs, parts, channels))
    weight_gradient_kernel[(-(-channels // product["BD"]), parts, pairs)](
        dt, proj, order, parts_W, parts_bias, *plan.sizes[:4], steps, **product
    )
    grad_W += _by_image(parts_W, plan).sum((0, 2))
    grad_bias += _by_image(parts_bias, plan).sum((0, 2))


def _expand(inputs: Tensors, plan: _Plan) -> torch.Tensor:
    """dt of the plan's images, in each direction's order: pairs x L x D."""
    u, proj, dt_weight, dt_bias, _, _, order = inputs
    length, channels = plan.sizes[:2]
    dt = _empty(u, (plan.grid[2], length, channels))
    product = plan.product
    grid = (-(-length // product["BT"]), -(-channels // product["BD"]), plan.grid[2])
    expand_kernel[grid](proj, dt_weight, dt_bias, order, dt, *plan.sizes[:4], **product)
    return dt


def _by_image(values: torch.Tensor, plan: _Plan) -> torch.Tensor:
    """Values of pairs, as values of images and directions."""
    unflattened: torch.Tensor = values.unflatten(0, (-1, plan.sizes[2]))
    return unflattened


def _atomic() -> bool:
    return not torch.are_deterministic_algorithms_enabled()


def _chain(out: torch.Tensor, dt_sum: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """What comes into each segment: what came out of those before it, decayed by those between.

    Args:
        out: what comes out of each segment that starts from zero, pairs x segments x D x N, first
            to last in the direction of the scan.
        dt_sum: the sum of each segment's dt, from which its whole decay follows.
        A: the state matrix.
    """
    number = torch.arange(out.shape[1], device=out.device)
    s, j, i = number[:, None, None], number[None, :, None], number[None, None, :]
    between = torch.einsum("sji,pid->psjd", ((j < i) & (i < s)).to(out.dtype), dt_sum)
    decay = torch.exp(torch.einsum("bksjd,kdn->bksjdn", between.unflatten(0, (-1, len(A))), A))
    decay = decay.flatten(0, 1) * (j < s)[..., None]
    return torch.einsum("psjdn,pjdn->psdn", decay, out).contiguous()


def _empty(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=torch.float32, device=like.device)


def _zeros(like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return torch.zeros(tuple(shape), dtype=torch.float32, device=like.device)
