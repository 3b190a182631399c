"""How a scan is divided on a GPU: into groups of images, segments of the sequence and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch

from mambaad.ops.selective_scan.cuda import program as cuda_program

Kernels = Literal["cuda", "triton"]

SCRATCH = 2**30
"""Bytes of the time steps that are held at a time; more images are scanned one group after another.

A single image takes 4 K L D bytes, however many. Where the order of sums must be fixed (see
:func:`is_atomic`), what is held for each direction and block of channels counts too.
"""
_MOST_PAIRS = 65535
"""Pairs of image and direction: a grid's third dimension has no more."""
_MOST_SEGMENTS = 64
_PROGRAMS_A_PROCESSOR = 8
"""Enough programs of a warp each to keep a multiprocessor busy while some wait for memory."""
_SHORTEST_SEGMENT = 256
"""Steps below which a segment saves less than finding its first state costs."""
WIDTHS = {"atomic": 16, "fixed": 8}
"""Channels of a program of the Triton kernels, of 16 states; in a backward with a fixed order of
sums fewer. As many values in a lane as leave registers for what is computed of them. (On an H100, a
forward with 32 channels took 1.8 times as long at 16 x 16 cells, and a backward with 8 or 32
channels 1.3 times.)
"""


class Tiling(NamedTuple):
    """How a scan is divided; all are powers of two but ``segments``.

    ``steps`` between two states that are kept for the backward, 4 or more; ``channels`` of a
    program, 0: by the number of states; ``segments`` of the sequence, 0: by the device.
    """

    steps: int = 16
    channels: int = 0
    segments: int = 0


TILING = Tiling()


class Plan(NamedTuple):
    """The division of the scan of some images.

    Attributes:
        kernels: those of ``cuda/`` or those of ``triton/``.
        images: which ones.
        grid: programs: blocks of channels, segments, pairs of image and direction.
        block: the channels of a program.
        steps: of a segment, a multiple of ``tile``.
        tile: steps between two states that are kept.
        is_wide: whether offsets take 64 bits (the CUDA kernels' always do where they must).
        is_atomic: see :func:`is_atomic`.
    """

    kernels: Kernels
    images: slice
    grid: tuple[int, int, int]
    block: int
    length: int
    channels: int
    directions: int
    rank: int
    states: int
    steps: int
    tile: int
    is_wide: bool
    is_atomic: bool

    @property
    def first_pair(self) -> int:
        """The first pair of image and direction."""
        first: int = self.images.start
        return first * self.directions

    @property
    def state_shape(self) -> tuple[int, int, int, int]:
        """Of one state a segment: pairs, segments, D, N."""
        return self.grid[2], self.grid[1], self.channels, self.states

    @property
    def step_shape(self) -> tuple[int, int, int]:
        """Of a value for each step and channel: pairs, L, D."""
        return self.grid[2], self.length, self.channels

    def by_image(self, values: torch.Tensor) -> torch.Tensor:
        """Values of pairs, as values of images and directions."""
        unflattened: torch.Tensor = values.unflatten(0, (-1, self.directions))
        return unflattened


def is_atomic() -> bool:
    """Whether sums over directions and blocks of channels are atomic, in any order."""
    return not torch.are_deterministic_algorithms_enabled()


def carry_shape(u: torch.Tensor, A: torch.Tensor, tiling: Tiling = TILING) -> tuple[int, ...]:
    """The shape of the states that the backward starts from: one before each tile of steps."""
    tiles = -(-u.shape[1] // tiling.steps)
    return u.shape[0], A.shape[0], tiles, u.shape[2], A.shape[2]


def channels_of(states: int, width: str) -> int:
    """The channels of a Triton program, for one of ``WIDTHS``: fewer of more than 16 states."""
    channels, padded = WIDTHS[width], 1 << (states - 1).bit_length()
    return channels if states <= 16 else max(16 * channels // padded, 4)


def plans(
    inputs: tuple[torch.Tensor, ...], tiling: Tiling, *, backward: bool = False
) -> Iterator[Plan]:
    """Groups of images, each with its plan, so that their time steps fit into ``SCRATCH``."""
    u, proj, dt_weight, _, A, *_ = inputs
    batch, length, channels = u.shape
    directions, _, rank = dt_weight.shape
    states = A.shape[2]
    fixed = backward and not is_atomic()
    row = channels  # values of a step and direction
    if fixed:
        row += channels + 2 * states * -(-channels // channels_of(states, "fixed"))
    kernels: Kernels = "triton"
    if (
        is_atomic()
        and (tiling.steps, tiling.channels) == (TILING.steps, TILING.channels)
        and cuda_program.takes(u.device, states)
    ):
        kernels = "cuda"
    fit = SCRATCH // (4 * directions * length * row)
    if kernels == "cuda" and not backward:
        fit = batch  # it holds no time steps
    at_once = max(min(fit, _MOST_PAIRS // directions), 1)
    at_once = -(-batch // -(-batch // at_once))  # groups of a size need one set of kernels
    block = tiling.channels or channels_of(states, "fixed" if fixed else "atomic")
    block = cuda_program.CHANNELS if kernels == "cuda" else block
    blocks, tiles = -(-channels // block), -(-length // tiling.steps)
    most = max(min(length // _SHORTEST_SEGMENT, _MOST_SEGMENTS), 1)
    for first in range(0, batch, at_once):
        images = slice(first, min(first + at_once, batch))
        pairs = (images.stop - first) * directions
        wanted = _processors(u.device) * _PROGRAMS_A_PROCESSOR
        segments = tiling.segments or max(min(wanted // (blocks * pairs), most), 1)
        steps = -(-tiles // min(segments, tiles)) * tiling.steps
        padded = 1 << (states - 1).bit_length()
        largest = max(
            batch * length * max(channels, proj.shape[2]),
            pairs * length * max(channels, 2 * states * blocks),
            batch * directions * tiles * channels * states,
            pairs * segments * blocks * (tiling.steps // 2) * block * padded,
        )
        yield Plan(
            kernels,
            images,
            (blocks, -(-length // steps), pairs),
            block,
            length,
            channels,
            directions,
            rank,
            states,
            steps,
            tiling.steps,
            largest >= 2**31,
            is_atomic(),
        )


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    return torch.cuda.get_device_properties(device).multi_processor_count
