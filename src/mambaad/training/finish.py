"""The end of a training whose epochs are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mambaad.artifacts.generations import commit
from mambaad.artifacts.manifest import CHECKPOINT, HEAD_CHECKPOINT, HEAD_LOG, PROTOTYPES, WEIGHTS
from mambaad.artifacts.prototypes import prototypes_content
from mambaad.artifacts.run_folder import records_content
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig
from mambaad.inference.weights import load_model, weights_content
from mambaad.training.devices import one_line_errors
from mambaad.training.head import fit_head
from mambaad.training.prototypes import measure_prototypes
from mambaad.types import ProductClass, Sample

CHECKPOINTS = (CHECKPOINT, HEAD_CHECKPOINT)


def finish(
    out: Path,
    config: TrainConfig,
    samples: Sequence[Sample],
    classes: Sequence[ProductClass],
    device: torch.device,
) -> bool:
    """End a training whose epochs are done: the head if there is one, prototypes, no checkpoints.

    Args:
        out: the run folder, with weights; the caller holds its lock.
        config: its settings.
        samples: the images that it was trained on, now for the head.
        classes: of whose good parts the prototypes are measured.
        device: where to compute.

    Returns:
        False if it was interrupted; the head's state is saved then.
    """
    with one_line_errors(config, device):
        with opened(out) as run:
            model = load_model(run).to(device)
        files = {}
        if model.head is not None:
            log = fit_head(config, model, samples, out, device)
            if log is None:
                return False
            files = {HEAD_LOG: records_content(log), WEIGHTS: weights_content(model)}
        prototypes = measure_prototypes(model, classes, config.size)
        commit(out, {**files, PROTOTYPES: prototypes_content(prototypes)}, removed=CHECKPOINTS)
    return True
