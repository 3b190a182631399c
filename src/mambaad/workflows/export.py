"""``mambaad export``: a trained model for another runtime."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mambaad.artifacts.export_folder import (
    ALLOWED,
    GRAPHS,
    MANIFEST,
    ExportManifest,
    ExportPrecision,
    Preprocessing,
    Target,
)
from mambaad.artifacts.manifest import CALIBRATION, CONFIG, WEIGHTS, ListedFile
from mambaad.artifacts.run_folder import check_finished, read_config, read_data_summary
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.config import config_json
from mambaad.errors import RunError
from mambaad.files import file_digest, folder_written_whole, is_empty
from mambaad.inspection.calibration import Calibration, read_calibration
from mambaad.ops.scan_operator import VERSION as OPERATOR_VERSION
from mambaad.progress import say

if TYPE_CHECKING:  # it imports PyTorch
    from mambaad.export.graph import InferenceGraph

_PACKAGES = ("mambaad", "torch", "onnx", "onnxscript", "onnxruntime", "openvino")


def export(
    source: str | Path,
    out: str | Path,
    *,
    to: Target = "onnx",
    precision: ExportPrecision = "float32",
) -> ExportManifest:
    """Write a trained model as a graph for another runtime, and all that inspection needs.

    The graph goes from 8-bit RGB pixels at the model's size to anomaly maps, scores and distances
    to products; :class:`mambaad.Inspector` runs it from the folder without PyTorch. Its values are
    compared with the model's on drawn images, in the runtime that it is for.

    Args:
        source: a finished run, or a bundle.
        out: the folder to write; absent or empty. It is written whole or not at all.
        to: ``"onnx"``, ``"openvino"`` or ``"torch-export"``.
        precision: of the products and convolutions of encoder, fusion and decoder. Thresholds are
            kept in float32 only.

    Raises:
        ConfigError: a target or precision that there is not, that this model does not work with,
            or whose packages are not installed.
        RunError: an unfinished or damaged run, or a folder that is not empty.
    """
    out = Path(out)
    from mambaad.export.targets import WRITERS, Job, check_target  # PyTorch takes seconds to load

    check_target(to, precision)
    check_new(out)
    with opened(source) as run:
        check_source(run)
        from mambaad.export.graph import load_graph

        say(f"tracing the model for {to}")
        graph = load_graph(run)
        with folder_written_whole(out) as folder:
            WRITERS[to, precision](Job(graph, folder, precision, None))
            checked = _checked(run, folder, to, precision)
            members = _members(run, keep_calibration=precision == "float32")
            for name, content in members.items():
                (folder / name).write_bytes(content)
            manifest = _manifest(run, folder, to, precision, graph, checked)
            (folder / MANIFEST).write_text(
                manifest.model_dump_json(indent=2) + "\n", encoding="utf-8"
            )
    return manifest


def check_new(out: Path) -> None:
    """Refuse to export to where something is (RunError)."""
    if out.exists() and not (out.is_dir() and is_empty(out)):
        raise RunError(f"--out: {out} exists and is not empty; choose another folder, or remove it")


def check_source(run: Snapshot) -> None:
    """Refuse what cannot be exported (RunError)."""
    if run.export:
        raise RunError(f"{run.source} is an export already; give the run or bundle it was made of")
    check_finished(run)


def _members(run: Snapshot, *, keep_calibration: bool) -> dict[str, bytes | bytearray]:
    """The files beside the graph: those of a bundle, but for the weights."""
    members: dict[str, bytes | bytearray] = {
        name: run.read(name)
        for name in ALLOWED
        if run.has(name) and (keep_calibration or name != CALIBRATION)
    }
    # Only the file's name: its folder belongs to the machine, not to the model.
    config = read_config(run)
    weights = PurePath(config.encoder_weights).name
    members[CONFIG] = config_json(config.model_copy(update={"encoder_weights": weights})).encode()
    return members


def _checked(
    run: Snapshot, folder: Path, to: Target, precision: ExportPrecision
) -> dict[str, float]:
    """Compare the graph in its runtime with the model (ConfigError: they differ)."""
    from mambaad.export.values import check_values, drawn_images
    from mambaad.inference.exported.engine import SESSIONS
    from mambaad.inference.torch_engine import load_engine

    files = {name: bytearray((folder / name).read_bytes()) for name in GRAPHS[to]}
    session = SESSIONS[to](files, "off")
    reference = load_engine(run, device="cpu", compile="off")
    return check_values(session, reference, to, precision, drawn_images(reference.size))


def _manifest(
    run: Snapshot,
    folder: Path,
    to: Target,
    precision: ExportPrecision,
    graph: InferenceGraph,
    checked: Mapping[str, float],
) -> ExportManifest:
    """Describe the files of a folder."""
    height, width = graph.size
    has_thresholds = (folder / CALIBRATION).exists()
    calibration = read_calibration(run, graph.size) if has_thresholds else None
    return ExportManifest(
        target=to,
        precision=precision,
        operator=OPERATOR_VERSION if graph.has_scan else None,
        weights=run.digest(WEIGHTS),
        preprocessing=Preprocessing(height=height, width=width),
        outputs=list(graph.outputs),
        strides=graph.strides,
        smoothing=graph.model.smoothing,
        classes=list(read_data_summary(run)["classes"]),
        thresholds=_thresholds(calibration),
        checked=dict(checked),
        versions=_versions(),
        files=_listed(folder),
    )


def _thresholds(calibration: Calibration | None) -> dict[str, dict[str, float]]:
    classes = calibration.classes if calibration else {}
    return {
        name: {"review": c.review.value, "fail": c.fail.value, "unknown_beyond": c.unknown_beyond}
        for name, c in classes.items()
    }


def _listed(folder: Path) -> dict[str, ListedFile]:
    return {
        path.name: ListedFile(size=path.stat().st_size, sha256=file_digest(path))
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def _versions() -> dict[str, str]:
    """The versions of the packages that an export depends on, of those that are installed."""
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
