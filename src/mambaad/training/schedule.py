"""Which images each step of a training sees, and its learning rate: functions of the settings."""

from __future__ import annotations

import math

import torch

from mambaad.config import TrainConfig

WARM_UP = 0.02
"""Share of a training over which the ``cosine`` schedule raises the learning rate."""


def epoch_batches(
    images: int, batch_size: int, devices: int, seed: int, epoch: int
) -> list[list[int]]:
    """The indices of each batch of an epoch, shuffled; what does not fill a batch is left out.

    With fewer images than a batch there is one smaller batch, a multiple of ``devices``.
    """
    size = min(batch_size, images // devices * devices)
    generator = torch.Generator().manual_seed(mix(seed, epoch, 0))
    shuffled = torch.randperm(images, generator=generator).tolist()
    return [shuffled[i : i + size] for i in range(0, images - size + 1, size)]


def learning_rate(config: TrainConfig, epoch: int, share: float = 0.0) -> float:
    """The rate of a step, after ``epoch`` whole epochs and a ``share`` (0 to 1) of the next.

    ``step``: a tenth after ``lr_drop_after`` of the epochs. ``cosine``: up from nearly 0 over the
    first 2 % of the training, then half a cosine down to 0 (SGDR without restarts, equation 5).
    """
    if config.schedule == "step":
        dropped = epoch >= round(config.lr_drop_after * config.epochs)
        return config.lr * (0.1 if dropped else 1.0)
    done = (epoch + share) / config.epochs
    if done < WARM_UP:
        return config.lr * max(done / WARM_UP, 1e-3)
    return config.lr * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def mix(seed: int, epoch: int, step: int) -> int:
    """A seed for what is random in one step; the same for it whatever came before."""
    return ((seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**63
