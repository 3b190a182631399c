"""What runs a model for inspection, and whether its calibration applies to that."""

from __future__ import annotations

from typing import NamedTuple

from mambaad.artifacts.export_folder import ExportPrecision
from mambaad.artifacts.snapshot import Snapshot
from mambaad.errors import ConfigError
from mambaad.inference.compute import Compilation, Precision
from mambaad.inference.engine import Engine
from mambaad.inspection.calibration import TORCH, Calibration
from mambaad.inspection.tiles import tiles_text


class Loaded(NamedTuple):
    """A model that is ready, the precision that it has, and its runtime.

    ``runtime``: :data:`TORCH`, or the target of an export.
    """

    engine: Engine
    precision: ExportPrecision
    runtime: str


def load_engine(
    run: Snapshot,
    precision: Precision,
    *,
    device: str,
    compile: Compilation,
    keep_trained: bool,
    keep_evidence: bool,
) -> Loaded:
    """Load the model of a run or bundle in PyTorch, and that of an export in its own runtime.

    Raises:
        ConfigError, RunError: see :class:`mambaad.Inspector`.
    """
    if run.export:
        from mambaad.inference.exported.engine import load_exported

        _check_exported(run, precision, device, compile)
        engine = load_exported(run, keep_evidence=keep_evidence)
        return Loaded(engine, run.export.precision, run.export.target)
    from mambaad.inference import torch_engine  # PyTorch takes seconds to load

    loaded = torch_engine.load_engine(
        run,
        precision,
        device=device,
        compile=compile,
        keep_trained=keep_trained,
        keep_evidence=keep_evidence,
    )
    return Loaded(loaded, precision, TORCH)


def _check_exported(run: Snapshot, precision: str, device: str, compile: str) -> None:
    """Refuse to run an export in another way than it was made for (ConfigError)."""
    assert run.export is not None
    exported = run.export.precision
    if precision not in ("float32", exported):
        raise ConfigError(
            f"--precision: {run.source} was exported with {exported}; omit it, or export the model "
            f"with --precision {precision}"
        )
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device: exports run on the CPU, got '{device}'; omit it")
    if compile not in ("auto", "off"):
        raise ConfigError(f"--compile: exports are run by their runtime, got '{compile}'; omit it")


class Running(NamedTuple):
    """A model as it runs; a calibration applies to one that it was made with.

    ``weights``: their SHA-256. ``head``: of the settings. ``tiles``: size and stride.
    """

    weights: str
    precision: ExportPrecision
    runtime: str
    device: str
    head: str
    tiles: tuple[int, int] | None


def mismatch(calibration: Calibration, running: Running) -> str | None:
    """The reason why a calibration does not apply to a model; None if it does."""
    weights, precision, runtime, device, head, tiles = running
    if calibration.tiles != tiles:
        return (
            f"calibrated with --tiles {tiles_text(calibration.tiles)}, so there are no verdicts; "
            "omit --tiles, or calibrate again"
        )
    if calibration.weights != weights:
        return "trained further after calibration, so there are no verdicts; calibrate again"
    if calibration.format == 1 and head != "off":
        return (
            "calibrated when the residual head still counted in the score, so there are no "
            "verdicts; calibrate again"
        )
    if calibration.precision != precision:
        return (
            f"calibrated with --precision {calibration.precision}, so there are no verdicts "
            f"with {precision}; use {calibration.precision}, or calibrate again"
        )
    if precision != "float32" and runtime != calibration.runtime:
        return (
            f"calibrated with {precision} in {calibration.runtime}, whose rounding is not that of "
            f"{runtime}, so there are no verdicts; calibrate again"
        )
    if precision != "float32" and device != calibration.device:
        return (
            f"calibrated with {precision} on '{calibration.device}', whose rounding is not that of "
            f"'{device}', so there are no verdicts; use --device {calibration.device}, or "
            "calibrate with float32"
        )
    return None
