"""``mambaad export``: a trained model for another runtime."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mambaad.artifacts.export_folder import (
    ALLOWED,
    GRAPHS,
    MANIFEST,
    RUNTIMES,
    ExportManifest,
    ExportPrecision,
    Preprocessing,
    Target,
)
from mambaad.artifacts.manifest import CALIBRATION, CONFIG, WEIGHTS, ListedFile
from mambaad.artifacts.run_folder import check_finished, read_config, read_data_summary
from mambaad.artifacts.sealed import sealed_json
from mambaad.artifacts.signatures import required
from mambaad.artifacts.snapshot import Snapshot, opened
from mambaad.config import config_json
from mambaad.errors import ConfigError, MambaADError, RunError
from mambaad.files import file_digest, folder_written_whole, is_empty
from mambaad.inference.exported.engine import start
from mambaad.inference.exported.kernel import KernelMissingError
from mambaad.inference.exported.one_line import one_line
from mambaad.inspection.calibration import Calibration, calibration_content, read_calibration
from mambaad.inspection.loading import Running, mismatch
from mambaad.ops.scan_operator import VERSION as OPERATOR_VERSION
from mambaad.progress import say, warn
from mambaad.workflows.calibrate import calibrate_export
from mambaad.workflows.training_parts import trained_on, training_images

if TYPE_CHECKING:  # it imports PyTorch
    from mambaad.export.check import Difference
    from mambaad.export.graph import InferenceGraph

_PACKAGES = ("mambaad", "torch", "onnx", "onnxscript", "onnxruntime", "openvino")


def export(
    source: str | Path,
    out: str | Path,
    *,
    to: Target = "onnx",
    precision: ExportPrecision = "float32",
    data: str | Path | None = None,
    calibrate_on: str | Path | None = None,
) -> ExportManifest:
    """Write a trained model as a graph for another runtime, and all that inspection needs.

    The graph goes from 8-bit RGB pixels at the model's size to anomaly maps, scores and distances
    to products; :class:`mambaad.Inspector` runs it from the folder without PyTorch. Its values are
    compared with the model's on drawn images, in the runtime that it is for.

    Args:
        source: a finished run, or a bundle.
        out: the folder to write; absent or empty. It is written whole or not at all.
        to: ``"onnx"``, ``"openvino"`` or ``"torch-export"``.
        precision: of the products and convolutions of encoder, fusion and decoder: ``"float32"``;
            for ONNX ``"int8"``; for the others ``"bfloat16"``. Thresholds hold for one precision:
            int8 and bfloat16 have those of the parts that the run held out of ``data``, or of
            ``calibrate_on``, or none.
        data: for int8 and bfloat16 the data set that the model was trained on. The parts that it
            was trained on choose int8's scales.
        calibrate_on: for int8 and bfloat16 a data set of new good parts.

    Raises:
        ConfigError: a target or precision that there is not, that this model does not work with,
            or whose packages are not installed.
        DataError: images that cannot be read, or are not those asked for.
        RunError: an unfinished or damaged run, or a folder that is not empty.
    """
    out = Path(out)
    from mambaad.export.targets import WRITERS, Job, check_target  # PyTorch takes seconds to load

    check_target(to, precision, has_data=data is not None)
    if calibrate_on is not None and precision == "float32":
        raise ConfigError("--calibrate-on: float32 keeps its thresholds; omit it")
    check_new(out)
    with opened(source) as run:
        check_source(run)
        config = read_config(run)
        before = read_calibration(run, config.size)
        images = None
        if data is not None:
            classes = trained_on(run, Path(data))  # early, as a data set may be another one
            if precision == "int8":
                # Not on parts held out, as thresholds are set on them.
                tiles = before.tiles if before else config.tiles
                images = training_images(run, classes, tiles)
        from mambaad.export.graph import load_graph

        say(f"exporting to {to}, {precision}")
        graph = load_graph(run, "bfloat16" if precision == "bfloat16" else "float32")
        with folder_written_whole(out) as folder:
            with _errors_of(to):
                WRITERS[to, precision](Job(graph, folder, precision, images))
                checked = _checked(run, folder, to, precision, graph)
            for name, content in _members(run, keep_calibration=precision == "float32").items():
                (folder / name).write_bytes(content)
            calibration = None
            if precision == "float32":
                calibration = _applicable(before, run, to)
            describe = functools.partial(_manifest, run, folder, to, precision, graph, checked)
            _write_manifest(folder, describe(calibration))
            if precision != "float32":
                calibration = _calibrated(run, before, folder, data, calibrate_on)
            if precision != "float32" and calibration:
                with (folder / CALIBRATION).open("wb") as file:
                    file.writelines(calibration_content(calibration))
            manifest = describe(calibration)
            _write_manifest(folder, manifest)
    return manifest


@contextmanager
def _errors_of(target: Target) -> Iterator[None]:
    """Make one line of whatever a runtime or its converter raises (ConfigError)."""
    try:
        yield
    except (MambaADError, MemoryError, OSError):
        raise
    except Exception as error:  # each has errors of its own
        raise ConfigError(
            f"{RUNTIMES[target]} cannot take this model ({one_line(error)}); nothing was exported, "
            "choose another --to or --precision"
        ) from error


def _calibrated(
    run: Snapshot,
    before: Calibration | None,
    folder: Path,
    data: str | Path | None,
    calibrate_on: str | Path | None,
) -> Calibration | None:
    """Set the thresholds of an export, on new parts or on those that the run held out."""
    has_held_out = read_config(run).holdout > 0
    parts = calibrate_on or (data if has_held_out else None)
    if parts is None:
        warn(
            "thresholds of another precision do not hold, so this export gives no verdicts; give "
            "new good parts with --calibrate-on"
        )
        return None
    with required(None):  # the folder is ours, and has no signature
        return calibrate_export(
            folder, parts, before, source=run.source, new_parts=calibrate_on is not None
        )


def _write_manifest(folder: Path, manifest: ExportManifest) -> None:
    (folder / MANIFEST).write_bytes(sealed_json(manifest, indent=2))


def check_export(
    source: str | Path, exported: str | Path, images: Sequence[str | Path]
) -> Difference:
    """Compare an export with the model that it was made of, on images.

    Args:
        source: the run or bundle.
        exported: the folder of the export.
        images: files, and folders that are searched for images at any depth.

    Raises:
        ConfigError, DataError, RunError: no images, or a model that cannot be loaded.
    """
    from mambaad.export.check import compare
    from mambaad.inspection.inspector import Inspector
    from mambaad.workflows.predict_inputs import find_inputs

    # A signature is asked of the model; an export has none, and is compared with it.
    with required(None), opened(exported) as run:
        if not run.export:
            raise RunError(f"{exported} is no export; make one with mambaad export")
    paths = [Path(image) for image in images]
    files = list(find_inputs(paths, Path(exported), None).targets)
    model = Inspector(source, device="cpu", compile="off", keep_evidence=True)
    with required(None):
        found = Inspector(exported, keep_evidence=True)
    return compare(model, found, files)


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
    run: Snapshot, folder: Path, to: Target, precision: ExportPrecision, graph: InferenceGraph
) -> dict[str, float]:
    """Compare the graph in its runtime with the model (ConfigError: they differ).

    A scan is tried both by its definition and, where it is installed, by our kernel.
    """
    from mambaad.export.values import check_values, drawn_images
    from mambaad.inference.torch_engine import load_engine

    files = {name: bytearray((folder / name).read_bytes()) for name in GRAPHS[to]}
    sessions = [start(to, files, "off")]
    if graph.has_scan and to != "torch-export":
        with suppress(KernelMissingError):
            sessions.append(start(to, files, "required"))
    reference = load_engine(run, device="cpu", compile="off", keep_evidence=True)
    images = drawn_images(reference.size)
    found = [check_values(one, reference, to, precision, images) for one in sessions]
    return {name: max(one[name] for one in found) for name in found[0]}


def _manifest(
    run: Snapshot,
    folder: Path,
    to: Target,
    precision: ExportPrecision,
    graph: InferenceGraph,
    checked: Mapping[str, float],
    calibration: Calibration | None,
) -> ExportManifest:
    """Describe the files of a folder."""
    height, width = graph.size
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
        thresholds=_thresholds(calibration) if graph.model.pooling == 1 else {},
        checked=dict(checked),
        versions=_versions(),
        files=_listed(folder),
    )


def _applicable(calibration: Calibration | None, run: Snapshot, to: Target) -> Calibration | None:
    """A run's calibration, unless the export inspects otherwise, which is said."""
    if calibration is None:
        return None
    head = read_config(run).head
    running = Running(run.digest(WEIGHTS), "float32", to, "cpu", head, calibration.tiles)
    if reason := mismatch(calibration, running):
        warn(f"the export: {reason}")
        return None
    return calibration


def _thresholds(calibration: Calibration | None) -> dict[str, dict[str, float]]:
    """Those of classes whose thresholds are of the graph's score: of a whole image, everywhere."""
    if calibration is None or calibration.tiles:
        return {}
    return {
        name: {"review": c.review.value, "fail": c.fail.value, "unknown_beyond": c.unknown_beyond}
        for name, c in calibration.classes.items()
        if c.settings.inspected is None and not c.settings.min_area_px
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
