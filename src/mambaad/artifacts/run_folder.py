"""Making a run folder, and reading its settings, data summary, versions and logs.

``manifest.py`` lists its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mambaad.artifacts.generations import commit, is_of_run
from mambaad.artifacts.manifest import (
    CONFIG,
    DATA,
    HEAD_LOG,
    LOG,
    PROTOTYPES,
    RUN_FORMAT,
    VERSION,
    has_begun,
    is_of_this_format,
)
from mambaad.artifacts.snapshot import Snapshot
from mambaad.artifacts.tensors import Content
from mambaad.config import TrainConfig, config_json
from mambaad.documents import DocumentError, parse_json, shortened
from mambaad.errors import ConfigError, MambaADError, RunError
from mambaad.files import is_own, locked


def is_finished(run: Snapshot) -> bool:
    """Whether training has ended: the prototypes are written last."""
    return run.has(PROTOTYPES)


def check_finished(run: Snapshot) -> None:
    """Refuse a run whose training has not ended (RunError)."""
    if not is_finished(run):
        raise RunError(
            f"{run.source}: training has not ended; finish it first (mambaad train --resume)"
        )


def check_longer(run: Snapshot, epochs: int) -> bool:
    """Tell whether a run is to have other epochs than it was begun with.

    Raises:
        ConfigError: fewer than it has had.
        RunError: its epochs are not those of one training: it was extended or imported.
    """
    before, done = read_config(run).epochs, len(read_log(run))
    if epochs == before:
        return False
    if is_finished(run) and done != before:
        raise RunError(
            f"{run.source} was extended or imported, so it cannot be trained longer; omit --epochs"
        )
    if epochs <= done:
        raise ConfigError(f"--epochs: {run.source} has had {done} epochs; give more than {done}")
    return True


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make the folder of a run that is to be created, and hold its lock.

    Raises:
        RunError: the path exists and is not an empty folder, cannot be written, or another process
            is writing it.
    """
    check_new(folder)
    with locked(folder, make=True):
        yield


def create_run(
    folder: Path,
    config: TrainConfig,
    data: Mapping[str, Any],
    files: Mapping[str, Content] | None = None,
) -> None:
    """Write the first generation of a run: its settings, data summary and versions, and ``files``.

    The caller holds the lock of the folder (:func:`new_folder`).

    Raises:
        RunError: the folder is not empty, or cannot be written.
    """
    check_new(folder)
    versions = {name: version(name) for name in ("mambaad", "torch", "timm")}
    commit(
        folder,
        {
            VERSION: json_content({**versions, **RUN_FORMAT}),
            DATA: json_content(data),
            CONFIG: [config_json(config).encode()],
            **(files or {}),
        },
    )


def check_new(folder: Path) -> None:
    """Refuse to make a run where something is (RunError)."""
    if not folder.exists():
        return
    hint = "resume it (--resume), or " if has_begun(folder) else ""
    if not folder.is_dir() or hint or not _is_left(folder):
        raise RunError(f"{folder} exists and is not empty; {hint}choose another --out")


def _is_left(folder: Path) -> bool:
    """Whether all in a folder may be left of a run that was killed within :func:`create_run`."""
    names = [path.name for path in folder.iterdir() if not is_own(path.name)]
    return not names or (is_of_this_format(folder) and all(map(is_of_run, names)))


def json_content(value: Any) -> Content:
    """Make the content of a JSON file."""
    return [(json.dumps(value, indent=2) + "\n").encode()]


def records_content(records: Sequence[Mapping[str, Any]]) -> Content:
    """Make the content of a file with one JSON object a line."""
    return ["".join(json.dumps(record) + "\n" for record in records).encode()]


def read_config(run: Snapshot) -> TrainConfig:
    """Read the settings of a run (RunError: they are damaged)."""
    try:
        # A setting that the run's version did not have is as it was then, whatever recipes say now.
        before = {name: field.default for name, field in TrainConfig.model_fields.items()}
        before["bit_depth"] = 16  # as all were read before it was a setting
        return TrainConfig(**{**before, **_object(run, CONFIG)})
    except (ValidationError, TypeError, MambaADError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"{run.name(CONFIG)} is not a configuration of this version of mambaad; see "
            f"{run.name(VERSION)} for the one that wrote it"
        ) from error


class _ClassCounts(BaseModel):
    model_config = ConfigDict(strict=True)

    train: Annotated[int, Field(ge=0)]
    holdout: Annotated[int, Field(ge=0)] = 0
    test: Annotated[int, Field(ge=0)]
    masks: bool = False


class _DataSummary(BaseModel):
    model_config = ConfigDict(strict=True)

    classes: dict[str, _ClassCounts]
    fingerprint: str | None
    parts: dict[str, list[str]] = {}
    excluded: Annotated[int, Field(ge=0)] = 0
    imported: str = ""
    extension: dict[str, Any] = {}


def read_data_summary(run: Snapshot) -> dict[str, Any]:
    """Read the summary of a run's data; see :func:`mambaad.artifacts.fingerprint.summarise_data`.

    Raises:
        RunError: it is damaged.
    """
    summary = _object(run, DATA)
    _check(run, DATA, _DataSummary, summary)
    return {"parts": {}, **summary}


class EpochRecord(BaseModel):
    """A line of ``log.jsonl``; those of former versions may lack what has a default."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    epoch: Annotated[int, Field(ge=1)]
    loss: float
    lr: Annotated[float, Field(ge=0)] = 0.0
    images_per_s: Annotated[float, Field(ge=0)] = 0.0
    seconds: Annotated[float, Field(ge=0)]
    waited: Annotated[float, Field(ge=0)] = 0.0
    gpu_percent: float = 0.0
    validation: dict[str, float | None] = {}


class HeadRecord(BaseModel):
    """A line of ``head.jsonl``; the last one says what was decided."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    step: Annotated[int, Field(ge=0)]
    loss: float | None
    seconds: Annotated[float, Field(ge=0)]
    used: bool = True
    pixel_ap: dict[str, float | None] = {}


def read_log(run: Snapshot) -> list[dict[str, Any]]:
    """Read the record of each epoch that has ended (RunError: the log is damaged)."""
    records = _read_records(run, LOG)
    try:
        check_epochs(records)
    except ValueError as error:
        raise run.damaged(LOG, _reason(error)) from error
    return records


def check_epochs(records: Sequence[Any]) -> None:
    """Check the records of epochs: all of them, in their order (ValueError)."""
    for number, record in enumerate(records, start=1):
        if EpochRecord.model_validate(record).epoch != number:
            raise ValueError(f"its record {number} is of another epoch")


def training_seconds(run: Snapshot) -> float:
    """Add up the seconds of a run's epochs, and of its residual head (RunError: see above)."""
    epochs = sum(epoch["seconds"] for epoch in read_log(run))
    head = [record["seconds"] for record in _read_head_log(run)]
    return float(epochs + max(head, default=0.0))


def is_head_used(run: Snapshot) -> bool | None:
    """Tell whether a run's residual head was silenced; None of a run without one (RunError)."""
    records = _read_head_log(run)
    return bool(records[-1].get("used", True)) if records else None


def _read_head_log(run: Snapshot) -> list[dict[str, Any]]:
    records = _read_records(run, HEAD_LOG)
    try:
        check_head_log(records)
    except ValueError as error:
        raise run.damaged(HEAD_LOG, _reason(error)) from error
    return records


def check_head_log(records: Sequence[Any]) -> None:
    """Check the records of a head's training (ValueError)."""
    for record in records:
        HeadRecord.model_validate(record)


def _read_records(run: Snapshot, name: str) -> list[Any]:
    if not run.has(name):
        return []
    try:
        return [
            parse_json(bytes(line), name, first_line=number)
            for number, line in enumerate(run.read(name).splitlines(), start=1)
        ]
    except DocumentError as error:
        raise run.damaged(name, str(error)) from error


def read_version(run: Snapshot) -> dict[str, str]:
    """Read the versions of the software that made a run (RunError: they are damaged)."""
    versions = _object(run, VERSION)
    _check(run, VERSION, dict[str, str], versions)
    return {name: text for name, text in versions.items() if name not in RUN_FORMAT}


def _object(run: Snapshot, name: str) -> dict[str, Any]:
    content = run.json(name)
    if not isinstance(content, dict):
        raise run.damaged(name, "not an object")
    return content


def _check(run: Snapshot, name: str, schema: Any, value: Any) -> None:
    try:
        TypeAdapter(schema).validate_python(value, strict=True)
    except ValidationError as error:
        raise run.damaged(name, _reason(error)) from error


def _reason(error: ValueError) -> str:
    """What the first problem of a validation is, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = " ".join(map(str, first["loc"]))
    return shortened(f"{where}: {first['msg']}".removeprefix(": "))
