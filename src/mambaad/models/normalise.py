"""Normalisation of pixels, as in the encoders' pre-training."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: UInt8[torch.Tensor, "b h w 3"]) -> Float[torch.Tensor, "b 3 h w"]:
    """Scale 8-bit RGB to [0, 1], subtract ImageNet's mean, divide by its standard deviation.

    Returns:
        float32, contiguous, RGB, on the device of the images. The values of an image do not depend
        on the batch that it is in.
    """
    scaled = images.permute(0, 3, 1, 2).contiguous().float() / 255
    mean, std = _imagenet(images.device)
    return (scaled - mean) / std


@functools.lru_cache
@torch.inference_mode(False)  # the cached tensors must serve training too
def _imagenet(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """ImageNet's mean and standard deviation, 3 x 1 x 1."""
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return mean[:, None, None], std[:, None, None]
