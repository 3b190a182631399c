"""The images and the learning rate of each training step: functions of the settings alone."""

from __future__ import annotations

import math

import torch

from mambaad.config import TrainConfig

WARM_UP = 0.02
"""Share of a training over which the ``cosine`` schedule raises the learning rate."""

MOST_EASY = 0.9
"""The share of cells that the loose loss takes to be easy, once it has grown to it."""
LOOSE_WARM_UP = 0.1
"""Share of a training over which it grows."""


def epoch_batches(
    images: int, batch_size: int, devices: int, seed: int, epoch: int
) -> list[list[int]]:
    """Deal the indices of the images into the batches of an epoch, shuffled.

    The images that do not fill a last batch are left out of the epoch.

    With fewer images than a batch there is one smaller batch, a multiple of ``devices``.
    """
    size = min(batch_size, images // devices * devices)
    generator = torch.Generator().manual_seed(step_seed(seed, epoch, 0))
    shuffled = torch.randperm(images, generator=generator).tolist()
    return [shuffled[i : i + size] for i in range(0, images - size + 1, size)]


def device_share(batches: list[list[int]], device: int, devices: int) -> list[list[int]]:
    """Take one device's equal share of each batch."""
    size = len(batches[0]) // devices if batches else 0
    return [batch[device * size : (device + 1) * size] for batch in batches]


def learning_rate(config: TrainConfig, epoch: int, share: float = 0.0) -> float:
    """Compute the rate after ``epoch`` whole epochs and a ``share`` (0 to 1) of the next.

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


def loose_share(config: TrainConfig, epoch: int, share: float = 0.0) -> float:
    """Compute the share of cells that the loose loss takes to be easy.

    From 0 to :data:`MOST_EASY` over the first :data:`LOOSE_WARM_UP` of the training (Dinomaly).
    Arguments as of :func:`learning_rate`.
    """
    done = (epoch + share) / config.epochs
    return MOST_EASY * min(done / LOOSE_WARM_UP, 1.0)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Derive a seed for the randomness of one step, whatever came before it."""
    return ((seed * 1_000_003 + epoch) * 1_000_003 + step) % 2**63
