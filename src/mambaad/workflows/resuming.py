"""Resuming a training: what may change meanwhile, and how it is said."""

from __future__ import annotations

import shlex
from pathlib import Path

from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import Snapshot
from mambaad.config import TrainConfig, named
from mambaad.data.parts import Parts
from mambaad.errors import ConfigError
from mambaad.launch import Launch

_MAY_CHANGE = ("cache_features", "cache_images", "compile", "logger", "epochs")
"""Settings that may change when resuming: the weights do not depend on them, but for rounding. But
with more epochs a run is trained longer."""

_MOST_SHOWN = 8


def how_to_resume(
    source: Path | Parts, out: Path, skip_unreadable: bool, launch: Launch | None
) -> str:
    """Say how this training is resumed after it has ended early."""
    if not isinstance(source, Path):
        return "resume with: mambaad.train(..., resume=True)"
    command = ["mambaad", "train", str(source), "--out", str(out), "--resume"]
    command += ["--skip-unreadable"] if skip_unreadable else []
    return f"resume with: {launch.command(command) if launch else shlex.join(command)}"


def check_resumed(run: Snapshot, config: TrainConfig) -> None:
    """Refuse to resume a run with other settings (ConfigError)."""
    started = read_config(run)
    for name in TrainConfig.model_fields:
        if name not in _MAY_CHANGE and getattr(config, name) != getattr(started, name):
            raise ConfigError(
                f"{named(name)}: {run.source} was started with "
                f"{_shown(getattr(started, name))}; omit it to resume, or start a new run"
            )


def _shown(value: object) -> str:
    if isinstance(value, tuple) and len(value) > _MOST_SHOWN:  # of excluded images
        return f"{value[0]} and {len(value) - 1} others"
    return str(value)
