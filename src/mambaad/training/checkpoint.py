"""The state of a training run between two steps: saved whole, checked, and restored exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from mambaad.artifacts.tensors import Content, parse_tensors, tensors_content
from mambaad.errors import RunError
from mambaad.inference.weights import as_numpy, as_torch, first_difference


@dataclass
class Position:
    """The position of a training between two steps.

    ``step`` steps of epoch number ``epoch`` (from 0) are done, with a mean loss of
    ``loss_sum / step`` in ``seconds``, of which ``waited`` for images; ``log`` has a record for
    each epoch before it. (The residual head's training has no epochs: its log has a record every
    50 steps, and ``loss_sum`` is that of the steps since.) ``prior_steps`` are those before the
    optimizer's first, in a run that ended and is trained longer.

    The random state is not part of it: it is derived from seed, epoch and step at every step.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)
    prior_steps: int = 0

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Go to the start of the next epoch, with a record of this one in the log."""
        self.log.append(record)
        self.epoch += 1
        self.step, self.loss_sum = 0, 0.0
        self.seconds, self.waited = 0.0, 0.0


class _Position(BaseModel):
    """What every position is; :func:`load_checkpoint` checks the rest."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    epoch: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    loss_sum: float
    seconds: Annotated[float, Field(ge=0)]
    waited: Annotated[float, Field(ge=0)] = 0.0  # former versions did not measure it
    log: list[dict[str, Any]]
    prior_steps: Annotated[int, Field(ge=0)] = 0


def checkpoint_content(
    model: nn.Module, optimizer: torch.optim.Optimizer, position: Position
) -> Content:
    """Make the content of a file with all that :func:`load_checkpoint` needs."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, tensor in state.items():
            tensors[f"optimizer.{key}.{names[id(parameter)]}"] = torch.as_tensor(tensor)
    return tensors_content(as_numpy(tensors), asdict(position))


def load_checkpoint(
    content: bytearray, name: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Position:
    """Restore a model and its AdamW, and return where training stood.

    Nothing is changed unless every tensor is what this model and its optimizer have, in name,
    shape, dtype and number of steps.

    Args:
        content: of the file.
        name: of the file, for messages.
        model, optimizer: to restore.

    Raises:
        RunError: the file is damaged, or of another model.
    """
    arrays, about = parse_tensors(content, name)
    try:
        position = Position(**_Position.model_validate(about).model_dump())
        tensors = as_torch(arrays)
        weights = {key[6:]: tensor for key, tensor in tensors.items() if key[:6] == "model."}
        if difference := first_difference(weights, model.state_dict()):
            raise ValueError(difference)
        state = _optimizer_state(tensors, model, optimizer)
    except (ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{name} is of another model or version: {reason}") from error
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, kept in optimizer.state.items():
        for key, tensor in kept.items():
            # A copy, so that the memory of the whole file is freed; on a GPU, AdamW wants it laid
            # out as the parameter is.
            likes_it = tensor.shape == parameter.shape
            kept[key] = torch.empty_like(parameter if likes_it else tensor).copy_(tensor)
    return position


def check_position(
    position: Position,
    path: str,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    steps: int,
    records: int,
    check_log: Callable[[list[dict[str, Any]]], None],
) -> None:
    """Refuse a position outside a training, or of another than its optimizer's state.

    Args:
        position: as :func:`load_checkpoint` returned it.
        path: of the checkpoint, for messages.
        optimizer: restored.
        epochs, steps: how many epochs the training has, of how many steps each.
        records: how many its log has.
        check_log: raises a ValueError if one of them is wrong.

    Raises:
        RunError: it is outside.
    """
    begins_after_the_last = position.epoch == epochs and position.step == 0
    done = {int(kept["step"]) for kept in optimizer.state.values()} or {0}
    try:
        if not ((position.epoch < epochs and position.step <= steps) or begins_after_the_last):
            raise ValueError(f"training has {epochs} epochs of {steps} steps")
        if done != {position.epoch * steps + position.step - position.prior_steps}:
            raise ValueError(f"its optimizer's state is of step {done.pop()} of all")
        if len(position.log) != records:
            raise ValueError(f"its log has {len(position.log)} records, expected {records}")
        check_log(position.log)
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{path} is damaged (it says epoch {position.epoch}, step {position.step}, but "
            f"{reason}); restore the run from a copy"
        ) from error


def _optimizer_state(
    tensors: Mapping[str, torch.Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, torch.Tensor]]:
    """Sort the optimizer's tensors by its parameters: all of them, or none before a first step."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {id(p): name for name, p in model.named_parameters()}
    order = {names[id(p)]: index for index, p in enumerate(parameters)}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "model":
            continue
        if kind != "optimizer":
            raise ValueError(f"{key} is unknown")
        what, of = rest.split(".", 1)
        if what.isdigit():  # as former versions numbered them, in the model's order
            what, of = of, trained[int(what)]
        state.setdefault(order[of], {})[what] = tensor
    if not state:
        return {}
    steps = set()
    for index, parameter in enumerate(parameters):
        kept, name = state.get(index, {}), names[id(parameter)]
        wanted = {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}
        if difference := first_difference(kept, wanted):
            raise ValueError(f"the optimizer's state of {name}: {difference}")
        if (kept["exp_avg_sq"] < 0).any():
            raise ValueError(f"the optimizer's state of {name}: a mean of squares is negative")
        steps.add(kept["step"].item())
    if len(steps) != 1 or not math.isfinite(count := steps.pop()) or count < 1 or count % 1:
        raise ValueError("the optimizer's states are not of one step")
    return state
