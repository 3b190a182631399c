"""Networks of anomalib to time beside ours: `pip install '.[peers]'`. Random weights throughout."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

PATCHES = 24_000
"""Rows of PatchCore's memory bank."""


def peers(size: int) -> dict[str, Callable[[torch.Tensor], Any]]:
    """Build the networks, by name and in eval mode; none without anomalib."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel
            from anomalib.models.image.patchcore.torch_model import PatchcoreModel
            from anomalib.models.image.reverse_distillation.anomaly_map import (
                AnomalyMapGenerationMode,
            )
            from anomalib.models.image.reverse_distillation.torch_model import (
                ReverseDistillationModel,
            )
    except ImportError:
        return {}
    patchcore = PatchcoreModel(
        layers=("layer2", "layer3"), backbone="wide_resnet50_2", pre_trained=False
    ).eval()
    with torch.no_grad():
        channels = patchcore.train()(torch.randn(1, 3, size, size)).shape[-1]
    patchcore.embedding_store = []
    patchcore.memory_bank = torch.randn(PATCHES, channels)
    rd4ad = ReverseDistillationModel(
        backbone="wide_resnet50_2",
        input_size=(size, size),
        layers=("layer1", "layer2", "layer3"),
        anomaly_map_mode=AnomalyMapGenerationMode.ADD,
        pre_trained=False,
    )
    return {
        "rd4ad": rd4ad.eval(),
        "efficientad": EfficientAdModel().eval(),
        "patchcore": patchcore.eval(),
    }
