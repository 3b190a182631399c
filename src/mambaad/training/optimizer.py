"""AdamW, with weight decay on weights alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mambaad.config import TrainConfig

_UNDECAYED = (".bias", ".skip")


def make_optimizer(model: nn.Module, config: TrainConfig, *, fused: bool) -> torch.optim.AdamW:
    """Make the AdamW of a configuration, for the parameters that are trained.

    As MambaAD was released, one-dimensional parameters (norms), biases and the scan's skip (D,
    which is one-dimensional there) are not decayed; A_log and S6's time step's bias, of more
    dimensions, are.

    Args:
        model: whose parameters that take a gradient are trained.
        config: rates, betas and decay.
        fused: one kernel for all; Lightning refuses to clip gradients with it in float16.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    undecayed = [p for name, p in trained if p.ndim <= 1 or name.endswith(_UNDECAYED)]
    kept = {id(p) for p in undecayed}
    groups: list[dict[str, Any]] = [
        {"params": [p for _, p in trained if id(p) not in kept]},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    )
