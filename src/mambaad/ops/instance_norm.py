"""Instance norm, and the same with SiLU after it in one pass of the C++ kernel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch.nn import functional as F

from mambaad.ops import native


def instance_norm(x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
    """Each channel of each image at mean 0 and variance 1; without parameters or statistics."""
    if x.shape[2] * x.shape[3] == 1:
        return x - x  # a single value is its own mean; group_norm refuses it
    # Group normalisation with one channel a group is the same, and has a kernel for maps whose
    # channels are last in memory.
    return F.group_norm(x, x.shape[1])


def instance_norm_silu_(x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
    """``silu(instance_norm(x))``, without gradients; float32, ``x`` may be overwritten.

    The kernel runs where ``x`` has its channels last in memory.
    """
    cells = x.permute(0, 2, 3, 1)
    if native.AVAILABLE and x.device.type == "cpu" and cells.is_contiguous():
        native.instance_norm_silu_(cells.flatten(1, 2))
        return x
    return F.silu(instance_norm(x), inplace=True)
