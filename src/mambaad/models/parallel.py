"""Layers that act on the whole batch although each process holds only its share of it.

With them, training on several devices computes the same as training on one, with the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import distributed, nn

_is_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Have these layers act on this process's images only, though others are there: they wait."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def _processes() -> tuple[int, int]:
    """The number of processes that train together, and the rank of this one."""
    if _is_alone:
        return 1, 0
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size(), distributed.get_rank()
    return 1, 0


class DropPath(nn.Module):
    """Skips a residual branch for an image with a given probability, while training.

    (Stochastic depth, Huang et al. 2016.) Every process draws for all images of the batch, from
    the same random state, and uses its share.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[torch.Tensor, "b ..."]) -> Float[torch.Tensor, "b ..."]:
        """Zero or scale each image's branch, so that its expectation does not change."""
        if not self.training or self.rate == 0:
            return x
        world, rank = _processes()
        batch = x.shape[0]
        drawn = torch.rand(world * batch, device=x.device)
        kept = drawn[rank * batch : (rank + 1) * batch] >= self.rate
        scale = kept.to(x) / (1 - self.rate)
        return x * scale.view(-1, *[1] * (x.dim() - 1))


def dropout(
    x: Float[torch.Tensor, "b ..."], rate: float, *, training: bool
) -> Float[torch.Tensor, "b ..."]:
    """Zero values with a probability of ``rate`` while training, and scale the others up.

    Every process draws for all images of the batch, from the same random state, and uses its share.
    """
    if not training or rate == 0:
        return x
    world, rank = _processes()
    batch = x.shape[0]
    drawn = torch.rand(world * batch, *x.shape[1:], device=x.device)
    kept = drawn[rank * batch : (rank + 1) * batch] >= rate
    return x * kept / (1 - rate)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes; CPU and GPU alike.

    (``nn.SyncBatchNorm`` refuses CPU tensors.) All processes must hold equally many images.
    """

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        """Normalise over all but the channels."""
        world, _ = _processes()
        if not self.training or world == 1:
            return super().forward(x)
        assert self.running_mean is not None  # these four: for the type checker
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean: torch.Tensor = _MeanOverProcesses.apply(wide.mean((0, 2, 3)), world)
        centred = wide - mean[:, None, None]
        variance: torch.Tensor = _MeanOverProcesses.apply(centred.square().mean((0, 2, 3)), world)
        with torch.no_grad():
            count = world * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _MeanOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, world: int) -> torch.Tensor:
        ctx.world = world
        total = x.clone()
        distributed.all_reduce(total)
        return total / world

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = grad.clone()
        distributed.all_reduce(total)
        return total / ctx.world, None
