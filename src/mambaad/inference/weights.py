"""Loading a model from a run folder, and saving its weights there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import CONFIG, PROTOTYPES, WEIGHTS, read_config
from mambaad.artifacts.tensors import load_tensors, save_tensors, tensor_shapes
from mambaad.config import TrainConfig
from mambaad.errors import ConfigError, RunError
from mambaad.models.build import build_system
from mambaad.models.system import System


def save_weights(folder: Path, model: System) -> None:
    """Write ``weights.safetensors``, whole or not at all."""
    save_tensors(folder / WEIGHTS, as_numpy(model.state_dict()))


def load_model(folder: Path) -> System:
    """Load the trained model of a run, in eval mode, on the CPU.

    Raises:
        RunError: not a run folder, no weights yet, or weights or prototypes of another model, or
            that are no numbers.
    """
    folder = Path(folder)
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(
            f"{folder} has no {WEIGHTS}: its first epoch has not ended; resume training first "
            "(mambaad train --resume)"
        )
    _check_shapes(folder, config)
    model = build_system(config, "random")
    state = as_torch(load_tensors(folder / WEIGHTS)[0])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{folder / WEIGHTS} does not fit {folder / CONFIG}: {reason}; restore the run from a "
            "copy"
        ) from error
    _check_prototypes(folder, model)
    _check_finite(folder / WEIGHTS, model)
    return model.eval()


def _check_finite(path: Path, model: System) -> None:
    """Refuse weights with NaN or infinity, before anything is written with them."""
    for name, tensor in model.state_dict().items():
        # A sum shows both, in a tenth of the time; a sum that overflows is looked at again.
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise RunError(
                f"{path}: {name} has values that are not finite, expected numbers; train again, or "
                "restore the run from a copy"
            )


def as_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Convert arrays to tensors that share their memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def as_numpy(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Convert tensors on any device to arrays; those on the CPU share their memory."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _check_shapes(folder: Path, config: TrainConfig) -> None:
    """Compare the weights' shapes with those of the configured model, before it takes memory.

    A configuration from elsewhere could describe a model larger than memory; a weights file cannot
    hold more than its own size.
    """
    path = folder / WEIGHTS
    try:
        with torch.device("meta"):
            described = build_system(config, "random").state_dict()
    except ConfigError as error:
        raise RunError(f"{folder / CONFIG} does not describe a valid model: {error}") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in described.items()}
    found = tensor_shapes(path)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise RunError(
                f"{path} does not fit {folder / CONFIG}: {name} is {_shape(found.get(name))}, "
                f"expected {_shape(wanted.get(name))}; restore the run from a copy"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"


def _check_prototypes(folder: Path, model: System) -> None:
    """Refuse prototypes that do not fit the encoder's embeddings."""
    means = read_prototypes(folder).means
    channels = getattr(model.encoder, "channels", None)
    if not means.size or not isinstance(channels, int | tuple):
        return
    width = channels if isinstance(channels, int) else sum(channels)
    if means.ndim != 2 or means.shape[1] != width or means.dtype.kind != "f":
        raise RunError(
            f"{folder / PROTOTYPES} does not fit {folder / CONFIG}: its means are of shape "
            f"{means.shape}, expected products x {width}; restore the run from a copy"
        )
