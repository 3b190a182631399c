"""Instance norm; for inference also with SiLU after it, in one C++ kernel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch.nn import functional as F

from mambaad.ops import native


def instance_norm(x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
    """Normalise each channel of each image to mean 0 and variance 1 (variance + 1e-5).

    Without learned parameters or running statistics (Ulyanov et al. 2016, arXiv 1607.08022).
    """
    if x.shape[2] * x.shape[3] == 1:
        return x - x  # a single value is its own mean; group_norm refuses it
    # Group normalisation with one channel a group is the same, and has a kernel for maps whose
    # channels are last in memory.
    # It sums in float32, so that autocast need not cast maps of half precision to and fro.
    with torch.autocast(x.device.type, enabled=False):
        return F.group_norm(x, x.shape[1])


def instance_norm_silu_(x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
    """``silu(instance_norm(x))`` of a float32 map, without gradients; may overwrite ``x``.

    The C++ kernel runs if ``x`` is on a CPU and has its channels last in memory; an exported
    program has plain operators.
    """
    cells = x.permute(0, 2, 3, 1)
    has_kernel = native.AVAILABLE and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if has_kernel and cells.is_contiguous():
        native.instance_norm_silu_(cells.flatten(1, 2))
        return x
    return F.silu(instance_norm(x), inplace=True)
