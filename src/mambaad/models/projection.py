"""Linear maps of the channels of feature maps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch.nn import functional as F

_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def cast_once(x: torch.Tensor) -> torch.Tensor:
    """Cast to autocast's type, if it is on: each product of ``x`` would do it again."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return x.to(torch.get_autocast_dtype(device))
    return x


def project(
    x: Float[torch.Tensor, "b h w c"], weight: Float[torch.Tensor, "n c"]
) -> Float[torch.Tensor, "b h w n"]:
    """Multiply each cell's channels by ``weight``: ``F.linear(x, weight)`` up to rounding.

    On a CPU it is a 1 x 1 convolution: PyTorch computes convolutions with oneDNN, which is fast on
    every processor, but matrix products with MKL, which fills only half of a vector register on
    AMD's.
    """
    if x.device.type == "cpu" and _HAS_ONEDNN:
        return F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None]).permute(0, 2, 3, 1)
    return F.linear(x, weight)
