"""The state of a training run between two steps: saved whole, restored exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mambaad.artifacts.tensors import load_tensors, save_tensors
from mambaad.errors import RunError
from mambaad.inference.weights import as_numpy, as_torch


@dataclass
class Position:
    """The position of a training between two steps.

    ``step`` steps of epoch number ``epoch`` (from 0) are done, with a mean loss of
    ``loss_sum / step`` in ``seconds``, of which ``waited`` for images; ``log`` has a record for
    each epoch before it. (The residual head's training has no epochs: its log has a record every
    50 steps, and ``loss_sum`` is that of the steps since.)

    The random state is not part of it: it is derived from seed, epoch and step at every step.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Go to the start of the next epoch, with a record of this one in the log."""
        self.log.append(record)
        self.epoch += 1
        self.step, self.loss_sum = 0, 0.0
        self.seconds, self.waited = 0.0, 0.0


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position
) -> None:
    """Write all that :func:`load_checkpoint` needs, whole or not at all."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, tensor in state.items():
            tensors[f"optimizer.{key}.{names[id(parameter)]}"] = torch.as_tensor(tensor)
    save_tensors(path, as_numpy(tensors), asdict(position))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Restore a model and its optimizer, and return where training stood.

    Raises:
        RunError: the file is absent, damaged, or of another model.
    """
    arrays, about = load_tensors(path)
    tensors = as_torch(arrays)
    weights: dict[str, torch.Tensor] = {}
    state: dict[int, dict[str, torch.Tensor]] = {}
    names = {id(p): name for name, p in model.named_parameters()}
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    try:
        for key, tensor in tensors.items():
            kind, rest = key.split(".", 1)
            if kind == "model":
                weights[rest] = tensor
                continue
            what, of = rest.split(".", 1)
            if what.isdigit():  # as former versions numbered them, in the model's order
                what, of = of, trained[int(what)]
            state.setdefault(order.index(of), {})[what] = tensor
        model.load_state_dict(weights)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, kept in optimizer.state.items():
            for name, tensor in kept.items():
                # On a GPU, AdamW wants it laid out in memory as the parameter is.
                if tensor.shape == parameter.shape and tensor.stride() != parameter.stride():
                    kept[name] = torch.empty_like(parameter).copy_(tensor)
        return Position(**about)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{path} is of another model or version: {reason}") from error
