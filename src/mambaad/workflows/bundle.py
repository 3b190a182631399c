"""``mambaad bundle``: a finished run as one file for the production line."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

from pydantic import TypeAdapter

from mambaad.artifacts.bundle import (
    ALLOWED,
    FORMAT,
    METRICS,
    SUFFIX,
    Manifest,
    listed,
    write_bundle,
)
from mambaad.artifacts.manifest import CONFIG
from mambaad.artifacts.provenance import git_revision
from mambaad.artifacts.run_folder import (
    check_finished,
    read_config,
    read_data_summary,
    read_version,
)
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.config import TrainConfig, config_json
from mambaad.documents import DocumentError, read_json
from mambaad.errors import RunError
from mambaad.inspection.calibration import read_calibration


def bundle(
    run: str | Path,
    out: str | Path,
    *,
    metrics: str | Path | None = None,
    sign: str | Path | None = None,
) -> Manifest:
    """Write a finished run as a bundle, whole or not at all; the same run gives the same file.

    Args:
        run: the run folder, calibrated or not.
        out: the file to write, ``*.mambaad``.
        metrics: a file that ``mambaad evaluate --json`` wrote, to be included.
        sign: the file of a private key (:mod:`mambaad.artifacts.signatures`).

    Raises:
        ConfigError: no private key.
        RunError: an unfinished or damaged run, or a file that cannot be written.
    """
    run, out = Path(run), Path(out)
    if out.suffix != SUFFIX:
        raise RunError(
            f"--out: expected a file name that ends in {SUFFIX}, got {out}; use {out.stem}{SUFFIX}"
        )
    if not run.is_dir():
        raise RunError(f"{run} is not a run folder; give the folder of 'mambaad train --out'")
    with opened(run) as snapshot:  # all of one generation
        manifest, members = _bundled(snapshot, Path(metrics) if metrics else None)
    write_bundle(out, manifest, members, Path(sign) if sign else None)
    return manifest


def _bundled(run: Snapshot, metrics: Path | None) -> tuple[Manifest, dict[str, bytes | bytearray]]:
    """The manifest and the members of a run's bundle."""
    config, data = read_config(run), read_data_summary(run)
    check_finished(run)
    from mambaad.inference.weights import load_model  # importing PyTorch takes seconds

    load_model(run)  # raises now rather than on the line
    calibration = read_calibration(run, config.size)
    members: dict[str, bytes | bytearray] = {
        name: run.read(name) for name in ALLOWED if name != CONFIG and run.has(name)
    }
    # Only the file's name: its folder belongs to the machine, not to the model.
    weights = PurePath(config.encoder_weights).name
    members[CONFIG] = config_json(config.model_copy(update={"encoder_weights": weights})).encode()
    mean = None
    if metrics:
        figures = _read_metrics(metrics)
        mean = figures["mean"]
        members[METRICS] = (json.dumps(figures, indent=2) + "\n").encode()
    manifest = Manifest(
        format=FORMAT,
        files=listed(members),
        versions={"bundled by mambaad": version("mambaad"), **read_version(run)},
        git_revision=git_revision(),
        classes=list(data["classes"]),
        fingerprint=str(data["fingerprint"]),
        calibrated=calibration.method if calibration else None,
        metrics=mean,
        encoder={"name": config.encoder, "weights": weights, "licence": _licence(config)},
    )
    return manifest, members


def check_bundle(source: Path) -> Manifest:
    """Check a bundle by loading it, and return its manifest.

    Raises:
        RunError: see :func:`mambaad.artifacts.snapshot.opened`; or the model cannot be loaded.
    """
    from mambaad.inference.weights import load_model

    if not source.is_file():
        raise RunError(f"there is no bundle {source}; make one with mambaad bundle")
    with opened(source) as run:
        load_model(run)
        read_calibration(run, read_config(run).size)
        run.verify()
        assert run.manifest is not None  # since it is a file
        return run.manifest


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(path)
        names = ("protocol", "size", "classes", "mean", "pooled")
        figures = {name: content[name] for name in names}
        # Evaluations of former versions compared pixels at the map's size.
        figures["at"] = content.get("at", "map")
        TypeAdapter(dict[str, float | None]).validate_python(figures["mean"])
        return figures
    except DocumentError as error:
        raise RunError(f"--metrics: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"--metrics: {path} was not written by 'mambaad evaluate --json'; give a file that was"
        ) from error


def _licence(config: TrainConfig) -> str:
    from mambaad.models.encoder import EMBEDDED
    from mambaad.models.licences import licence_notice, stated_licence

    if config.encoder == EMBEDDED:
        return "Apache-2.0: trained by this project on drawn images only"
    if config.encoder_weights == "random":
        return "none: random weights"
    if config.encoder_weights == "timm":
        stated = stated_licence(config.encoder) or "not stated"
        return f"{stated}, as timm says of its weights; see also their training data's terms"
    if licence_notice(config.encoder, config.encoder_weights):
        stated = str(stated_licence(config.encoder))
        return f"unknown: a local file; weights of that name are under {stated}"
    return "unknown: a local file; ask who made it"
