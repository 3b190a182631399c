"""What all but the first of the processes that a launcher has started do in a training."""

from __future__ import annotations

from pathlib import Path

import torch

from mambaad.inference.device import find_type
from mambaad.launch import Launch
from mambaad.models.build import build_system
from mambaad.training.devices import make_fabric
from mambaad.training.loop import fit
from mambaad.training.together import Plan, check_files, joined


def take_part(launch: Launch, device: str, out: Path, advice: str) -> bool:
    """Train with the others until the run is finished (True), or all were interrupted (False).

    Args:
        launch: this process's place, not the first.
        device: where to compute; its type is what counts.
        out: the run folder, in which caches may go; it need not be here.
        advice: what to do if a process ends early, for messages.

    Raises:
        LostError, ToldError: another process ended, or failed.
        DataError: an image that is not here, or cannot be read.
    """
    with joined(launch, advice) as link:
        plan: Plan | None = link.hear()
        if plan is None:  # a resumed run that is finished
            return True
        check_files(launch, plan)
        config = plan.config
        torch.manual_seed(config.seed)
        model = build_system(config, "random")  # its weights come from the first process
        fabric = make_fabric(config.devices, config.precision, find_type(device), launch)
        if not fit(fabric, config, model, plan.samples, out, launch=launch):
            return False
        link.hear()  # that what one process does at the end is done
    return True
