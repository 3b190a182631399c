"""The licences of encoders' pretrained weights, as timm states them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm

_OPEN = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
_NAMED = {
    "dinov3-license": "the DINOv3 License, which is no open-source licence "
    "(https://github.com/facebookresearch/dinov3/blob/main/LICENSE.md)",
}


def stated_licence(encoder: str) -> str | None:
    """Return the licence that timm states of an architecture's weights; None if it states none."""
    cfg: Any = timm.get_pretrained_cfg(encoder, allow_unregistered=True)
    found = getattr(cfg, "license", None)
    return None if found in (None, "unknown") else str(found)


def licence_notice(encoder: str, weights: str | Path) -> str | None:
    """Return the line that says under which licence an encoder's weights are.

    None for random weights, and where timm states a permissive licence or none.
    """
    licence = stated_licence(encoder)
    if str(weights) == "random" or licence is None or licence in _OPEN:
        return None
    named = _NAMED.get(licence, f"a licence of their own, {licence}")
    whose = "its weights" if str(weights) == "timm" else "weights of that name"
    return (
        f"--encoder {encoder}: {whose} are under {named}; read it before you use or pass on what "
        "you train (docs/encoders.md)"
    )
