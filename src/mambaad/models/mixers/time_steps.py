"""How the time steps of state-space blocks begin."""

from __future__ import annotations

import math

import torch
from torch import nn

_LEAST, _MOST = 0.001, 0.1


@torch.no_grad()
def draw_time_steps(bias: nn.Parameter) -> None:
    """Draw a bias, of any shape, whose softplus is log-uniform in [0.001, 0.1] (Mamba, Mamba-2)."""
    dt = torch.empty_like(bias).uniform_(math.log(_LEAST), math.log(_MOST)).exp()
    bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # which inverts softplus
