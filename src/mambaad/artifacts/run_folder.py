"""The run folder: everything that training writes and inspection needs.

======================== ==========================================================
``config.json``          the settings (:class:`mambaad.config.TrainConfig`)
``data.json``            the classes, their counts, and the digests of their images
``version.json``         the versions of this package, PyTorch and timm
``weights.safetensors``  the whole model, encoder included
``log.jsonl``            a line for each epoch
``head.jsonl``           with a residual head: its loss every 50 steps, whether it is used
``good_parts.*``         the products' prototypes, written last (``artifacts/prototypes.py``)
``calibration.*``        once calibrated: the thresholds (``inspection/calibration.py``)
``checkpoint.*``         until training has ended: the state that it resumes from
``head_checkpoint.*``    the same of the residual head, while it is trained
======================== ==========================================================

Nothing in it refers to a path outside, so it can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mambaad.config import TrainConfig, config_json
from mambaad.errors import MambaADError, RunError
from mambaad.files import TEMPORARY, file_digest, write_text

CONFIG, DATA, VERSION, LOG = "config.json", "data.json", "version.json", "log.jsonl"
WEIGHTS, PROTOTYPES = "weights.safetensors", "good_parts.safetensors"
CHECKPOINT, CALIBRATION = "checkpoint.safetensors", "calibration.safetensors"
HEAD_LOG, HEAD_CHECKPOINT = "head.jsonl", "head_checkpoint.safetensors"


def is_finished(folder: Path) -> bool:
    """Whether training has ended: the prototypes are written last."""
    return (folder / PROTOTYPES).is_file()


def check_finished(folder: Path) -> None:
    """Refuse a run whose training has not ended (RunError)."""
    if not is_finished(folder):
        raise RunError(
            f"{folder}: training has not ended; finish it first (mambaad train --resume)"
        )


def create_run(folder: Path, config: TrainConfig, data: Mapping[str, Any]) -> None:
    """Create a run folder with its settings, data summary and versions.

    Raises:
        RunError: the path exists and is not an empty folder, or cannot be written.
    """
    begun = {VERSION, DATA}  # left by a run that was killed within this function
    if folder.exists() and (
        not folder.is_dir()
        or any(p.name not in begun and not p.name.endswith(TEMPORARY) for p in folder.iterdir())
    ):
        hint = "resume it (--resume), or " if (folder / CONFIG).is_file() else ""
        raise RunError(f"{folder} exists and is not empty; {hint}choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in ("mambaad", "torch", "timm")}
        write_text(folder / VERSION, json.dumps(versions, indent=2) + "\n")
        write_text(folder / DATA, json.dumps(data, indent=2) + "\n")
        write_text(folder / CONFIG, config_json(config))
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror}); choose another --out"
        ) from error


def read_config(folder: Path) -> TrainConfig:
    """Read the settings of a run.

    Raises:
        RunError: not a run folder, or a damaged one.
    """
    try:
        # A setting that the run's version did not have is as it was then, whatever recipes say now.
        before = {name: field.default for name, field in TrainConfig.model_fields.items()}
        before["bit_depth"] = 16  # as all were read before it was a setting
        return TrainConfig(**{**before, **_read_json(folder, CONFIG)})
    except (ValidationError, TypeError, MambaADError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{folder / CONFIG} is not a configuration of this version of mambaad; see "
            f"{folder / VERSION} for the one that wrote it"
        ) from error


def read_data_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a run's data; see :func:`mambaad.artifacts.fingerprint.summarise_data`.

    Raises:
        RunError: not a run folder, or a damaged one.
    """
    summary = _read_json(folder, DATA)
    classes = summary.get("classes")
    parts = summary.setdefault("parts", {})
    if "fingerprint" not in summary or not isinstance(classes, dict) or not _are_digests(parts):
        raise RunError(f"{folder / DATA} is damaged; restore the run from a copy")
    return summary


def _are_digests(parts: object) -> bool:
    return isinstance(parts, dict) and all(
        isinstance(digests, list) and all(isinstance(digest, str) for digest in digests)
        for digests in parts.values()
    )


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the record of each epoch that has ended.

    Raises:
        RunError: the log is damaged.
    """
    return _read_records(folder / LOG)


def training_seconds(folder: Path) -> float:
    """Add up the seconds of a run's epochs, and of its residual head (RunError: see above)."""
    epochs = sum(epoch["seconds"] for epoch in read_log(folder))
    head = [record["seconds"] for record in _read_records(folder / HEAD_LOG)]
    return float(epochs + max(head, default=0.0))


def is_head_used(folder: Path) -> bool | None:
    """Tell whether a run's residual head was silenced; None of a run without one (RunError)."""
    records = _read_records(folder / HEAD_LOG)
    return bool(records[-1].get("used", True)) if records else None


def _read_records(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{"loss": r["loss"], "seconds": r["seconds"], **r} for r in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged; restore the run from a copy") from error


def read_version(folder: Path) -> dict[str, Any]:
    """Read the versions of the software that made a run (RunError: see :func:`read_config`)."""
    return _read_json(folder, VERSION)


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = Path(folder) / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} is not a run folder (it has no {name}); give one that "
            "'mambaad train --out' made"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); restore the run from a copy") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged (not an object); restore the run from a copy")
    return content


def weights_digest(folder: Path) -> str:
    """Compute the SHA-256 of a run's weights, in hexadecimal.

    Raises:
        RunError: they cannot be read.
    """
    try:
        return file_digest(folder / WEIGHTS)
    except OSError as error:
        raise RunError(
            f"{folder / WEIGHTS} cannot be read ({error.strerror}); restore it"
        ) from error
