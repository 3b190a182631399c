"""Weights of an encoder from a local file, as timm or torchvision published them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import nn

from mambaad.errors import ConfigError
from mambaad.file_errors import cannot_read
from mambaad.files import open_regular


def load_weights(backbone: nn.Module, name: str, path: Path) -> None:
    """Load the tensors that a backbone uses; those of unused stages, blocks and heads are skipped.

    A transformer's position embeddings of another grid are resampled (bicubic), as timm does.

    Args:
        backbone: what timm makes for features.
        name: its architecture, for errors.
        path: a safetensors or .pth file with the whole architecture's keys.

    Raises:
        ConfigError: the file cannot be read, lacks tensors, or has some of other shapes.
    """
    found = read_state_dict(path, flag="--encoder-weights")
    wanted = backbone.state_dict()
    state = {key: found[given] for key in wanted if (given := _key_in(found, key)) in found}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    missing = [key for key in wanted if key not in state and key not in counters]
    if missing:
        raise ConfigError(
            f"--encoder-weights: {path} lacks {len(missing)} of the {len(wanted)} tensors of "
            f"{name} (first: {_published(missing[0])}); give weights of that architecture, with "
            "timm's or torchvision's names"
        )
    for key, tensor in wanted.items():
        if key.endswith("pos_embed") and key in state:
            state[key] = _resampled(state[key], tensor, getattr(backbone, "model", backbone))
        if key in state and state[key].shape != tensor.shape:
            raise ConfigError(
                f"--encoder-weights: {path} has {_published(key)} of shape "
                f"{tuple(state[key].shape)}, {name} expects {tuple(tensor.shape)}; give weights of "
                "that architecture"
            )
    backbone.load_state_dict(state, strict=False)


def _key_in(state: dict[str, torch.Tensor], key: str) -> str:
    return key if key in state else _published(key)


def _published(key: str) -> str:
    """Turn the name of a tensor in a backbone for features into that in the architecture's file.

    For features timm puts a transformer into ``model``, and calls ``stages.0`` ``stages_0``.
    """
    first, _, rest = key.partition(".")
    if first == "model":
        return rest
    first = re.sub(r"_([0-9]+)$", r".\1", first)
    return f"{first}.{rest}"


def _resampled(given: torch.Tensor, wanted: torch.Tensor, vit: Any) -> torch.Tensor:
    """Resample position embeddings, 1 x tokens x c, of a square grid to the transformer's own."""
    same_kind = given.ndim == wanted.ndim == 3 and given.shape[2] == wanted.shape[2]
    if given.shape == wanted.shape or not same_kind:
        return given
    prefix = 0 if getattr(vit, "no_embed_class", False) else int(vit.num_prefix_tokens)
    cells = given.shape[1] - prefix
    if cells < 1 or int(cells**0.5) ** 2 != cells:
        return given
    grid = list(vit.patch_embed.grid_size)
    resampled: torch.Tensor = resample_abs_pos_embed(given, grid, num_prefix_tokens=prefix)
    return resampled


def read_state_dict(path: Path, flag: str) -> dict[str, torch.Tensor]:
    """Read tensors by name from a safetensors file, or from a .pth file without unpickling code.

    Raises:
        ConfigError: the file is absent, unreadable, no regular one, or holds anything but tensors.
    """
    try:
        open_regular(path).close()
    except FileNotFoundError:
        raise ConfigError(f"{flag}: there is no file {path}; check the path") from None
    except OSError as error:
        raise ConfigError(cannot_read(f"{flag}: {path}", error)) from error
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says it in one line
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        raise ConfigError(
            f"{flag}: {path} is neither a safetensors file nor a .pth file of plain tensors "
            f"({type(error).__name__}); convert it to one of them"
        ) from error
    while isinstance(state, dict):
        inner = next((state[k] for k in ("state_dict", "model", "net") if k in state), None)
        if not isinstance(inner, dict):
            break
        state = inner
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ConfigError(f"{flag}: {path} does not hold tensors by name; save a state_dict")
    return state
