"""The named defaults of a training: what each system, recipe and variant changes.

All other defaults are those of :class:`mambaad.config.TrainConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SystemDefaults:
    """The name and the training defaults of one system.

    Attributes:
        title: the name in reports and errors.
        settings: its paper's, where they differ from :class:`mambaad.config.TrainConfig`'s
            defaults.
        only_loss: the one loss that it can be trained with, whatever the recipe; None for any.
        fast: what the recipe ``fast`` changes for it alone, beyond :data:`RECIPES`.
    """

    title: str
    settings: Mapping[str, Any]
    only_loss: str | None
    fast: Mapping[str, Any] = field(default_factory=dict)


SYSTEMS: dict[str, SystemDefaults] = {
    "mambaad": SystemDefaults("MambaAD", {}, None),
    "rd4ad": SystemDefaults(
        "RD4AD",
        {
            "encoder": "wide_resnet50_2",
            "epochs": 200,
            "loss": "cosine",
            "beta1": 0.5,
            "weight_decay": 0.0,
            "lr_drop_after": 1.0,
        },
        None,
    ),
    "uniad": SystemDefaults(
        "UniAD",
        {
            "encoder": "tf_efficientnet_b4",
            "size": (224, 224),
            "epochs": 1000,
            "batch_size": 8,
            "lr": 1e-4,
            "clip_grad": 0.5,  # 0.1 in the paper, whose loss is a fifth of ours
        },
        "squared-error",  # lengths count in its distances
        {
            "epochs": 20,
            "lr": 1e-3,
            "clip_grad": 2.5,
            "dropout": 0.0,
            "normalise_features": True,
        },
    ),
}
"""The systems that can be trained, by the value of ``--system``.

:data:`mambaad.models.build.BUILDERS` has a function for each.
"""

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "fast": {
        "epochs": 6,
        "batch_size": 4,
        "loss": "cosine",
        "lr": 0.002,
        "beta2": 0.95,
        "schedule": "cosine",
        "drop_path": 0.0,
        "head": "residual",
    },
}
"""The defaults that each recipe changes."""

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "lite": {
        "depths": (1, 1, 1, 1),
        "directions": 4,
        "states": 8,
        "expand": 1,
        "kernels": (5,),
    },
}
"""The defaults that each variant of the decoder changes; ``base`` is the published decoder."""

FAST_LITE_EPOCHS = 10
"""Epochs of the recipe ``fast`` with the variant ``lite``: more, which take a sixth of the time."""

_CELLS = 28
"""Cells of a side of a transformer's grid where the default size does not suit it."""


def patch_size(encoder: str) -> int | None:
    """Read the side of a vision transformer's patches off its name in timm; None if it has none."""
    found = re.search(r"patch([1-9]\d?)(?!\d)", encoder)
    return int(found[1]) if found else None


def encoder_defaults(encoder: str) -> Mapping[str, Any]:
    """Return the defaults that an encoder changes, for MambaAD.

    Those of vision transformers: maps on the one grid of their patches, which for DINOv2, DINOv3
    and patches that do not divide 256 pixels is one of 28 x 28 cells (392 pixels in patches of 14).
    """
    patch = patch_size(encoder)
    if patch is None or not encoder.startswith("vit_"):
        return {}
    side = _CELLS * patch if "_dinov" in encoder or 256 % patch else 256
    return {"encoder_groups": "auto", "size": (side, side)}


UNUSED_BY_MIXER: Mapping[str, tuple[str, ...]] = {
    "s6": (),
    "vssd": ("scan", "directions"),
    "ssd": ("directions",),
}
"""For each state-space mixer the settings that it does not use: they must keep a default."""
