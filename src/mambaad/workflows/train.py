"""Training from a data set to a run folder; the loop itself is in ``fit.py``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch

from mambaad.artifacts.run_folder import (
    CHECKPOINT,
    GOOD_PARTS,
    build_from,
    create_run,
    load_model,
    read_config,
    read_data_summary,
    save_good_parts,
    summarise_data,
)
from mambaad.config import TrainConfig, make_config
from mambaad.data.checks import check_images
from mambaad.data.layouts import read_data
from mambaad.data.splits import keep_out
from mambaad.errors import ConfigError, RunError
from mambaad.files import TEMPORARY
from mambaad.models.prototypes import look_at_good_parts
from mambaad.progress import ProgressBar, say
from mambaad.training.loggers import check_logger
from mambaad.training.loop import fit, make_fabric

_MAY_CHANGE = ("cache_features", "cache_images", "logger")
"""What a resumed training may do otherwise: its weights do not depend on it."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; the state is saved, and ``resume`` goes on from there."""


def train(
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    skip_unreadable: bool = False,
    **settings: Any,
) -> Path:
    """Train one model for all classes of a data set, on their good parts.

    Args:
        data: a folder in any known layout (``docs/datasets.md``); others are read as MVTec AD's.
        out: the run folder to make (see :mod:`mambaad.artifacts.run_folder`).
        resume: go on with an interrupted run, to the same weights as if it had not been.
        skip_unreadable: leave unreadable images out instead of stopping.
        settings: those of :class:`mambaad.config.TrainConfig`; the others take their defaults.

    Returns:
        The run folder.

    Raises:
        ConfigError, DataError, RunError: before any training; nothing has been written.
        NonFiniteLossError: the loss became NaN or infinite.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    out = Path(out)
    config = _resumed_config(out, settings) if resume else make_config(settings)
    if resume and _is_finished(out):
        (out / CHECKPOINT).unlink(missing_ok=True)
        say(f"{out} is finished: nothing to resume")
        return out

    with ProgressBar("reading images") as bar:
        classes, skipped = check_images(
            read_data(Path(data), config.classes, layout=config.layout),
            skip_unreadable=skip_unreadable,
            progress=bar.update,
        )
    for problem in skipped:
        say(f"left out: {problem}")
    if skipped:
        say(f"{len(skipped)} unreadable images left out")
    everything = classes
    classes, kept_out = keep_out(
        everything, share=config.holdout, fold=config.fold, seed=config.seed
    )
    samples = tuple(sample for c in classes for sample in c.train)
    if len(samples) < config.devices:
        raise ConfigError(f"--devices {config.devices} is more than the {len(samples)} images")

    summary = summarise_data(everything, kept_out)
    if resume and summary["fingerprint"] != read_data_summary(out)["fingerprint"]:
        raise RunError(
            f"{data} does not hold the images that {out} was trained on (other contents, or "
            "another order); give the same ones, or start a new run"
        )
    torch.manual_seed(config.seed)
    # A checkpoint has the encoder: the file it once came from may be gone.
    has_encoder = resume and (out / CHECKPOINT).is_file()
    model = build_from(config, "random" if has_encoder else config.encoder_weights)
    check_logger(config.logger)
    fabric = make_fabric(config)
    if not resume:
        create_run(out, config, summary)
    for leftover in out.glob(f"*{TEMPORARY}"):
        leftover.unlink()
    counts = ", ".join(f"{c.name} {len(c.train)}" for c in classes)
    say(f"{len(samples)} training images of {len(classes)} classes: {counts}")
    if config.holdout or config.fold:
        say(f"{sum(len(c.train) for c in kept_out)} good parts kept out of it, to calibrate on")

    if not fit(fabric, config, model, samples, out):
        command = ["mambaad", "train", str(data), "--out", str(out), "--resume"]
        command += ["--skip-unreadable"] if skip_unreadable else []
        raise Interrupted(f"interrupted; go on with: {shlex.join(command)}")
    save_good_parts(
        out, look_at_good_parts(load_model(out).to(fabric.device), classes, config.size)
    )
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def _resumed_config(out: Path, settings: dict[str, Any]) -> TrainConfig:
    config = read_config(out)
    asked = make_config({**config.model_dump(), **settings})
    for name in settings:
        if name not in _MAY_CHANGE and getattr(asked, name) != getattr(config, name):
            raise ConfigError(
                f"--{name.replace('_', '-')}: {out} was started with {getattr(config, name)}; "
                "leave it away to resume, or start a new run"
            )
    return config.model_copy(update={name: getattr(asked, name) for name in _MAY_CHANGE})


def _is_finished(out: Path) -> bool:
    return (out / GOOD_PARTS).is_file()  # written last
