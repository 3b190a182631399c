"""From pixels to what the model takes, and masks to the size of its maps."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """Resize the whole image (bilinear, antialiased), scale to [0, 1], normalise as ImageNet."""

    height: int = 256
    width: int = 256

    def resize(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Resize as torchvision's ``Resize`` does with a Pillow image."""
        size = (self.width, self.height)
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))

    def normalise(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[torch.Tensor, "3 h w"]:
        """8-bit RGB -> float32, ImageNet mean and standard deviation."""
        return self.normalise_batch(torch.from_numpy(image.copy())[None])[0]

    def normalise_batch(
        self, images: UInt8[torch.Tensor, "b h w 3"]
    ) -> Float[torch.Tensor, "b 3 h w"]:
        """:meth:`normalise` of several images, on the device where they are."""
        scaled = images.permute(0, 3, 1, 2).contiguous().float() / 255
        mean, std = _imagenet(images.device)
        return (scaled - mean) / std

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[torch.Tensor, "3 h2 w2"]:
        """Resize, then normalise."""
        return self.normalise(self.resize(image))


@functools.lru_cache
@torch.inference_mode(False)  # what is kept must serve training too
def _imagenet(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """ImageNet's mean and standard deviation, 3 x 1 x 1."""
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return mean[:, None, None], std[:, None, None]


def resize_mask_nearest(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask to the map's size as the ``exact`` protocol does: nearest pixel."""
    return _resize(mask, height, width, Image.Resampling.NEAREST) > 0


def resize_mask_bilinear(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "h2 w2"]:
    """Resize a mask as the ``ader-paper`` protocol does: bilinear, then above one half."""
    return _resize(mask, height, width, Image.Resampling.BILINEAR) > 127


def _resize(
    mask: Bool[np.ndarray, "h w"], height: int, width: int, how: Image.Resampling
) -> UInt8[np.ndarray, "h2 w2"]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((width, height), how))
