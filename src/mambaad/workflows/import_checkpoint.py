"""``mambaad import-checkpoint``: a checkpoint of the authors' released code as a run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mambaad.artifacts.manifest import WEIGHTS
from mambaad.artifacts.run_folder import create_run, new_folder
from mambaad.config import make_config
from mambaad.errors import RunError
from mambaad.inference.weights import weights_content
from mambaad.models.build import build_system
from mambaad.models.encoder_weights import read_state_dict
from mambaad.models.released import load_released
from mambaad.ops.orders import ScanMethod

_BLOCK = re.compile(r"^net_s\.layers_up\.(\d+)\.blocks\.(\d+)\.smm_blocks\.(\d+)\.")
_DIRECTIONS = re.compile(r"\.self_attention\.x_proj_weight$")


def import_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    *,
    encoder: str = "resnet34",
    encoder_weights: str | Path = "timm",
    scan: ScanMethod = "hilbert",
) -> Path:
    """Create a run from released weights; depths and directions are inferred from the tensors.

    Args:
        checkpoint: a .pth or safetensors file with the released names.
        out: the run folder to create.
        encoder: the timm architecture that the checkpoint was trained with.
        encoder_weights: the encoder's weights, if the checkpoint lacks them.
        scan: the scan method that the checkpoint was trained with, which it does not record.

    Returns:
        The run folder. It has no products, and its heatmap range is [0, 1].

    Raises:
        ConfigError, RunError: not a released checkpoint; the message names the tensors that differ.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    state = {
        key.removeprefix("module."): tensor
        for key, tensor in read_state_dict(checkpoint, flag="CHECKPOINT").items()
    }
    config = make_config(
        {
            "encoder": encoder,
            "scan": scan,
            "depths": _depths(checkpoint, state),
            "directions": _directions(checkpoint, state),
        }
    )
    has_encoder = any(key.startswith("net_t.") for key in state)
    model: Any = build_system(config, "random" if has_encoder else encoder_weights)
    trained = nn.ModuleDict({"fusion": model.fusion, "decoder": model.decoder})
    try:
        load_released(model if has_encoder else trained, state)
    except RunError as error:
        raise RunError(f"{checkpoint}: {error}") from error
    about: dict[str, Any] = {"classes": {}, "fingerprint": None, "imported": checkpoint.name}
    with new_folder(out):
        create_run(out, config, about, {WEIGHTS: weights_content(model)})
    return out


def _depths(path: Path, state: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    blocks = {match.groups() for key in state if (match := _BLOCK.match(key))}
    depths = tuple(sum(stage == str(i) for stage, *_ in blocks) for i in range(4))
    if min(depths) < 1:
        raise RunError(
            f"{path} has no decoder of four stages under the released names "
            "(net_s.layers_up.0.blocks.0.smm_blocks.0...); give a released MambaAD checkpoint"
        )
    return depths


def _directions(path: Path, state: Mapping[str, torch.Tensor]) -> int:
    counts = {
        tensor.shape[0] for key, tensor in state.items() if _DIRECTIONS.search(key) and tensor.ndim
    }
    if len(counts) != 1:
        raise RunError(
            f"{path} has blocks of {sorted(counts)} scan directions, expected one number; give a "
            "released MambaAD checkpoint"
        )
    return int(counts.pop())
