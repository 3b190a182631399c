"""Loading a model from a run or bundle, and the content of its file of weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from mambaad.artifacts.manifest import CONFIG, PROTOTYPES, WEIGHTS
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import Snapshot
from mambaad.artifacts.tensors import Content, parse_tensors, tensors_content
from mambaad.config import TrainConfig
from mambaad.errors import ConfigError, RunError
from mambaad.models.build import build_system
from mambaad.models.system import System


def weights_content(model: System) -> Content:
    """Make the content of ``weights.safetensors``, in the model's own memory if on the CPU."""
    return tensors_content(as_numpy(model.state_dict()))


def load_model(run: Snapshot) -> System:
    """Load the trained model of a run or bundle, in eval mode, on the CPU.

    Raises:
        RunError: no weights yet, or weights or prototypes that are damaged, of another model, or
            no numbers.
    """
    config = read_config(run)
    if not run.has(WEIGHTS):
        raise RunError(
            f"{run.source} has no {WEIGHTS}: its first epoch has not ended; resume training first "
            "(mambaad train --resume)"
        )
    arrays, _ = parse_tensors(run.read(WEIGHTS), run.name(WEIGHTS))
    described = _described(run, config, arrays)
    if _is_all_state(described):  # no random values, as they would be overwritten
        model: System = described.to_empty(device="cpu")
    else:
        model = build_system(config, "random")
    model.load_state_dict(as_torch(arrays))
    _check_prototypes(run, model)
    return model.eval()


def as_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Convert arrays to tensors that share their memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def as_numpy(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Convert tensors on any device to arrays; those on the CPU share their memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _described(run: Snapshot, config: TrainConfig, found: Mapping[str, np.ndarray]) -> System:
    """Build the configured model without values, and compare the weights with it.

    A configuration from elsewhere could describe a model larger than memory; a weights file cannot
    hold more than its own size.
    """
    try:
        with torch.device("meta"):
            model = build_system(config, "random")
    except ConfigError as error:
        raise RunError(f"{run.name(CONFIG)} does not describe a valid model: {error}") from error
    difference = first_difference(as_torch(found), model.state_dict())
    if difference:
        raise RunError(
            f"{run.name(WEIGHTS)} does not fit {CONFIG}: {difference}; restore the run from a copy"
        )
    return model


def _is_all_state(model: nn.Module) -> bool:
    """Whether a model has no tensors but those of its state, such as UniAD's mask of neighbours."""
    kept = model.state_dict().keys()
    return all(name in kept for name, _ in model.named_buffers(remove_duplicate=False)) and not any(
        isinstance(value, torch.Tensor) for part in model.modules() for value in vars(part).values()
    )


def first_difference(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> str | None:
    """Say where tensors differ in name, shape or dtype; None if they do not."""
    for name in sorted(wanted.keys() | found.keys()):
        ours, theirs = (_kind(tensors.get(name)) for tensors in (found, wanted))
        if ours != theirs:
            return f"{name} is {ours}, expected {theirs}"
    return None


def _kind(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _check_prototypes(run: Snapshot, model: System) -> None:
    """Refuse prototypes that do not fit the encoder's embeddings."""
    means = read_prototypes(run).means
    channels = getattr(model.encoder, "channels", None)
    if not means.size or not isinstance(channels, int | tuple):
        return
    width = channels if isinstance(channels, int) else sum(channels)
    if means.shape[1] != width:
        raise RunError(
            f"{run.name(PROTOTYPES)} does not fit {CONFIG}: its means are of shape "
            f"{means.shape}, expected products x {width}; restore the run from a copy"
        )
