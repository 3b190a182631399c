"""Linear maps of the channels of feature maps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch.nn import functional as F

_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def project(
    x: Float[torch.Tensor, "b h w c"], weight: Float[torch.Tensor, "n c"]
) -> Float[torch.Tensor, "b h w n"]:
    """Multiply each cell's channels by ``weight``: ``F.linear(x, weight)`` to the last bits.

    On a CPU as a 1x1 convolution: PyTorch gives those to oneDNN, whose kernels suit the processor,
    but products of matrices to MKL, which on AMD's leaves half of a vector register unused.
    """
    if x.device.type == "cpu" and _HAS_ONEDNN:
        return F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None]).permute(0, 2, 3, 1)
    return F.linear(x, weight)
