"""The authors' released checkpoints: their tensors' names, translated to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from mambaad.documents import shortened
from mambaad.errors import RunError

# Each pattern matches whole dotted parts of a name; they are replaced in this order.
_RENAMED = tuple(
    (re.compile(rf"(?<![^.]){released}(?![^.])"), ours)
    for released, ours in (
        (r"net_t", "encoder.backbone"),
        (r"mff_oce\.conv1", "fusion.down1.0"),
        (r"mff_oce\.bn1", "fusion.down1.1"),
        (r"mff_oce\.conv21", "fusion.lateral2.0"),
        (r"mff_oce\.bn21", "fusion.lateral2.1"),
        (r"mff_oce\.conv2", "fusion.down2.0"),
        (r"mff_oce\.bn2", "fusion.down2.1"),
        (r"mff_oce\.conv31", "fusion.lateral3.0"),
        (r"mff_oce\.bn31", "fusion.lateral3.1"),
        (r"mff_oce\.convf", "fusion.mix.0"),
        (r"mff_oce\.bnf", "fusion.mix.1"),
        (r"mff_oce\.bn_layer", "fusion.bottleneck"),
        (r"net_s\.layers_up\.(\d+)\.blocks", r"decoder.stages.\1.lss_modules"),
        (r"net_s\.layers_up", "decoder.stages"),
        (r"smm_blocks", "hss_blocks"),
        (r"ln_1", "norm"),
        (r"self_attention", "ss2d"),
        (r"conv2d", "conv"),
        (r"x_proj_weight", "scan_proj"),
        (r"dt_projs_weight", "dt_weight"),
        (r"dt_projs_bias", "dt_bias"),
        (r"A_logs", "A_log"),
        (r"Ds", "skip"),
        (r"out_norm", "norm"),
        (r"conv1b5\.0", "local_branches.0.before"),
        (r"conv55\.0", "local_branches.0.depthwise"),
        (r"conv1a5\.0", "local_branches.0.after"),
        (r"conv1b7\.0", "local_branches.1.before"),
        (r"conv77\.0", "local_branches.1.depthwise"),
        (r"conv1a7\.0", "local_branches.1.after"),
        (r"finalconv11", "merge"),
    )
)
# Order tables are recomputed; the encoder's stages after the third are not used.
_NOT_WEIGHTS = re.compile(r"scans\.index_flat(_inv)?$|^net_t\.(layer4|fc|global_pool)\.")


def renamed(key: str) -> str:
    """Translate the name of a released checkpoint's tensor to that of this package."""
    for pattern, ours in _RENAMED:
        key = pattern.sub(ours, key)
    return key


def load_released(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load tensors under their released names (relative to the module) into a module.

    Raises:
        RunError: tensors are missing, unexpected or of another size; it names them.
    """
    wanted = module.state_dict()
    kept = {key: t for key, t in state.items() if not _NOT_WEIGHTS.search(key)}
    given = {renamed(key): (key, t) for key, t in kept.items()}
    problems = [f"missing {key}" for key in wanted if key not in given]
    problems += [
        f"unexpected {shortened(key)}" for ours, (key, _) in given.items() if ours not in wanted
    ]
    problems += [
        f"{shortened(key)} of shape {tuple(t.shape)} where {ours} has {tuple(wanted[ours].shape)}"
        for ours, (key, t) in given.items()
        if ours in wanted and not _fits(ours, t, wanted[ours])
    ]
    if problems:
        shown = "; ".join(problems[:12]) + ("; ..." if len(problems) > 12 else "")
        raise RunError(f"not a checkpoint of this model, {len(problems)} differences: {shown}")
    odd = next((key for key, t in kept.items() if not torch.isfinite(t).all()), None)
    if odd is not None:
        raise RunError(f"{shortened(odd)} has values that are not finite; give another checkpoint")
    module.load_state_dict({key: given[key][1].reshape(wanted[key].shape) for key in wanted})


def _fits(name: str, given: torch.Tensor, wanted: torch.Tensor) -> bool:
    # The released A_logs and Ds have directions and channels in one dimension, x_proj_weight has
    # directions and rows in two; the order of the values is the same.
    regrouped = name.endswith(("A_log", "skip", "scan_proj"))
    return given.shape == wanted.shape or (regrouped and given.numel() == wanted.numel())
