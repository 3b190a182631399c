"""Exports: the same values in each runtime, and one line for each that cannot be used."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mambaad.artifacts.export_folder import GRAPHS, MANIFEST
from mambaad.artifacts.generations import commit
from mambaad.artifacts.sealed import sealed
from mambaad.artifacts.snapshot import opened
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.export import targets
from mambaad.export.values import CLOSE
from mambaad.inference.exported import onnx_session, openvino_session
from mambaad.inspection.inspector import Inspector
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.export import check_export, export
from mambaad.workflows.predict import predict

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def onnx_export(calibrated_run, tmp_path_factory):
    """The calibrated run for onnxruntime; not to be changed."""
    out = tmp_path_factory.mktemp("exports") / "onnx"
    export(calibrated_run, out)
    return out


@pytest.fixture
def copied(onnx_export, tmp_path):
    return shutil.copytree(onnx_export, tmp_path / "copy")


def changed_manifest(folder, **fields):
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("kernel", ["required", "off"])
def test_onnxruntime_says_what_the_model_says(
    calibrated_run, onnx_export, many_parts, kernel, monkeypatch
):
    monkeypatch.setenv("MAMBAAD_OPERATOR", kernel)
    found = check_export(calibrated_run, onnx_export, [many_parts / "bolt" / "test"])
    assert found.images == 6
    assert found.has_verdicts == (True, True)
    assert found.maps <= CLOSE
    assert found.scores <= CLOSE
    assert found.most > 0
    assert found.evidence <= CLOSE * max(1, found.most)
    assert found.is_same
    found.evidence = 1e-3
    assert not found.is_same


@pytest.fixture(scope="module")
def openvino_export(calibrated_run, tmp_path_factory):
    """The calibrated run for OpenVINO; not to be changed."""
    pytest.importorskip("openvino")
    out = tmp_path_factory.mktemp("exports") / "openvino"
    assert export(calibrated_run, out, to="openvino").checked["maps"] <= CLOSE
    return out


@pytest.mark.parametrize("kernel", ["required", "off"])
def test_openvino_says_it_too(calibrated_run, openvino_export, many_parts, kernel, monkeypatch):
    monkeypatch.setenv("MAMBAAD_OPERATOR", kernel)
    assert check_export(calibrated_run, openvino_export, [many_parts / "nut" / "test"]).is_same


def test_a_program_of_pytorch_says_it_too(calibrated_run, many_parts, tmp_path):
    manifest = export(calibrated_run, tmp_path / "out", to="torch-export")
    assert manifest.checked["maps"] <= CLOSE
    assert check_export(calibrated_run, tmp_path / "out", [many_parts / "nut" / "test"]).is_same


def test_the_folder_says_what_a_program_needs(calibrated_run, onnx_export):
    model = Inspector(calibrated_run)
    manifest = json.loads((onnx_export / MANIFEST).read_text())
    assert manifest["weights"] == model.weights
    assert manifest["preprocessing"]["height"] == 64
    assert manifest["classes"] == list(model.products)
    for name, c in model.calibration.classes.items():
        assert manifest["thresholds"][name]["fail"] == c.fail.value
    assert manifest["outputs"] == ["anomaly_map", "score", "scale_maps", "embedding", "distances"]


def test_predict_runs_it_without_pytorch(calibrated_run, onnx_export, many_parts, tmp_path):
    images = many_parts / "bolt" / "test"
    program = (
        "import sys\n"
        "from mambaad.workflows.predict import predict\n"
        f"predict({str(onnx_export)!r}, {str(images)!r}, {str(tmp_path / 'out')!r})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    expected = predict(calibrated_run, images, tmp_path / "expected")
    for line, record in zip(map(json.loads, lines), expected, strict=True):
        assert line["score"] == pytest.approx(record.score, abs=CLOSE)
        for name in ("path", "verdict", "product", "model"):
            assert line[name] == json.loads(record.model_dump_json())[name]


def test_evidence_is_that_of_the_model(calibrated_run, onnx_export, many_parts):
    image = next((many_parts / "nut" / "test" / "spot").iterdir())
    observations = []
    for source in (calibrated_run, onnx_export):
        inspector = Inspector(source, keep_evidence=True, device="cpu")
        (inspected,) = inspector.inspect_items([inspector.item(image)])
        observations.append(inspected.observed.observation)
    ours, theirs = (observation.evidence for observation in observations)
    assert theirs.strides == ours.strides
    assert theirs.smoothing == ours.smoothing
    np.testing.assert_allclose(theirs.scale_maps, ours.scale_maps, atol=CLOSE)
    np.testing.assert_allclose(theirs.embedding, ours.embedding, atol=CLOSE)


@pytest.mark.parametrize("name", ["model.onnx", "good_parts.safetensors", "config.json"])
def test_a_damaged_file_is_named(copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(RunError, match=f"damaged: {name} has changed"):
        Inspector(copied)


def test_a_missing_file_is_named(copied):
    (copied / "model.onnx").unlink()
    with pytest.raises(RunError, match=r"model\.onnx does not exist"):
        Inspector(copied)


def test_another_version_of_the_operator_is_refused(copied):
    changed_manifest(copied, operator=2)
    with pytest.raises(RunError, match="needs version 2 of the operator mambaad::SelectiveScan"):
        Inspector(copied)


def test_a_graph_without_the_score_is_refused(copied, many_parts):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(copied / "model.onnx")
    model.graph.output.remove(next(o for o in model.graph.output if o.name == "score"))
    onnx.save(model, copied / "model.onnx")
    fields = json.loads((copied / MANIFEST).read_text())
    del fields["sha256"]
    content = (copied / "model.onnx").read_bytes()
    fields["files"]["model.onnx"] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (copied / MANIFEST).write_bytes(sealed(fields))
    with pytest.raises(RunError, match=r"onnxruntime gives no 'score' of shape \(1,\)"):
        Inspector(copied).inspect(next((many_parts / "nut" / "test" / "good").iterdir()))


@pytest.mark.parametrize("field", ["weights", "smoothing", "thresholds", "precision"])
def test_a_changed_manifest_is_refused(copied, field):
    other = {"weights": "0" * 64, "smoothing": 1.5, "thresholds": {}, "precision": "int8"}
    changed_manifest(copied, **{field: other[field]})
    with pytest.raises(RunError, match=r"export\.json is damaged: it has changed"):
        Inspector(copied)


def test_a_newer_format_is_refused(copied):
    changed_manifest(copied, format=2)
    with pytest.raises(RunError, match="format 2, this version reads up to 1; update"):
        Inspector(copied)


def test_a_manifest_without_a_graph_is_damaged(copied):
    manifest = json.loads((copied / MANIFEST).read_text())
    del manifest["files"]["model.onnx"]
    changed_manifest(copied, files=manifest["files"])
    with pytest.raises(RunError, match=r"export\.json is damaged"):
        Inspector(copied)


def test_without_the_library_the_definition_runs_with_a_notice(onnx_export, monkeypatch, capsys):
    def no_library():
        raise ConfigError("the operator library for onnxruntime is missing")

    monkeypatch.setattr(onnx_session, "library_path", no_library)
    pixels = np.zeros((64, 64, 3), np.uint8)
    inspector = Inspector(onnx_export)
    assert "is missing; until then the scan runs as a graph" in capsys.readouterr().err
    assert not inspector.engine.session.has_kernel
    assert np.isfinite(inspector.inspect(pixels).score)
    monkeypatch.setenv("MAMBAAD_OPERATOR", "required")
    with pytest.raises(ConfigError, match="MAMBAAD_OPERATOR=required: the operator library"):
        Inspector(onnx_export)


def test_a_library_that_does_not_load_is_replaced_by_the_definition(
    onnx_export, monkeypatch, capsys, tmp_path
):
    library = tmp_path / "library.so"
    library.write_text("no library")
    monkeypatch.setattr(onnx_session, "library_path", lambda: library)
    inspector = Inspector(onnx_export)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "onnxruntime cannot load the operator library" in line
    assert "until then the scan runs as a graph" in line
    assert not inspector.engine.session.has_kernel
    assert np.isfinite(inspector.inspect(np.zeros((64, 64, 3), np.uint8)).score)
    monkeypatch.setenv("MAMBAAD_OPERATOR", "required")
    with pytest.raises(ConfigError, match="MAMBAAD_OPERATOR=required: onnxruntime cannot load"):
        Inspector(onnx_export)


def test_an_operator_that_openvino_refuses_is_replaced_by_the_definition(
    openvino_export, monkeypatch, capsys
):
    shared_core = openvino_session.shared_core

    def refuse(*, with_operator):
        if with_operator:
            raise RuntimeError("Check failed\n\nno such extension")
        return shared_core(with_operator=False)

    monkeypatch.setattr(openvino_session, "shared_core", refuse)
    capsys.readouterr()
    inspector = Inspector(openvino_export)
    err = capsys.readouterr().err
    assert "OpenVINO does not take mambaad's operator (no such extension)" in err
    assert not inspector.engine.session.has_kernel
    assert np.isfinite(inspector.inspect(np.zeros((64, 64, 3), np.uint8)).score)


@pytest.mark.parametrize(("target", "runtime"), [("onnx", "onnxruntime"), ("openvino", "OpenVINO")])
def test_a_runtimes_error_is_one_line_and_writes_nothing(
    calibrated_run, target, runtime, tmp_path, monkeypatch
):
    if target == "openvino":
        pytest.importorskip("openvino")

    def write(job):
        for name in GRAPHS[target]:
            (job.folder / name).write_bytes(b"no model")

    monkeypatch.setitem(targets.WRITERS, (target, "float32"), write)
    with pytest.raises(RunError, match=f"{runtime} cannot load the exported model") as raised:
        export(calibrated_run, tmp_path / "out", to=target)
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_converters_error_is_one_line_and_writes_nothing(calibrated_run, tmp_path, monkeypatch):
    def write(job):
        raise RuntimeError("first\nthe last line\n")

    monkeypatch.setitem(targets.WRITERS, ("onnx", "float32"), write)
    with pytest.raises(ConfigError, match=r"onnxruntime cannot take this model \(the last line\);"):
        export(calibrated_run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_unknown_choice_of_kernel_is_refused(onnx_export, monkeypatch):
    monkeypatch.setenv("MAMBAAD_OPERATOR", "fast")
    with pytest.raises(ConfigError, match="MAMBAAD_OPERATOR: expected auto, required, off, got"):
        Inspector(onnx_export)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bfloat16"}, "--precision: .* was exported with float32"),
        ({"device": "cuda"}, "--device: exports run on the CPU"),
        ({"compile": "default"}, "--compile: exports are run by their runtime"),
    ],
)
def test_an_export_runs_as_it_was_made(onnx_export, settings, message):
    with pytest.raises(ConfigError, match=message):
        Inspector(onnx_export, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "coreml"}, "--to: expected one of onnx, openvino, torch-export, got 'coreml'"),
        ({"to": "openvino", "precision": "int8"}, "openvino has bfloat16 and float32, got 'int8'"),
        ({"precision": "bfloat16"}, "onnxruntime has no convolutions in bfloat16 on a CPU"),
        ({"precision": "int8"}, "add --data DATA"),
        ({"data": "somewhere"}, "--data is for --precision int8 and bfloat16"),
        ({"calibrate_on": "somewhere"}, "--calibrate-on: float32 keeps its thresholds"),
    ],
)
def test_wrong_arguments_write_nothing(calibrated_run, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        export(calibrated_run, tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_and_an_export_of_an_export_are_refused(onnx_export, calibrated_run):
    with pytest.raises(RunError, match="exists and is not empty"):
        export(calibrated_run, onnx_export)
    with pytest.raises(RunError, match="is an export already"):
        export(onnx_export, onnx_export.with_name("again"))


def test_an_export_of_another_model_is_not_compared(trained_run, onnx_export, parts):
    with pytest.raises(ConfigError, match="was not made of"):
        check_export(trained_run, onnx_export, [parts])


def test_a_required_signature_refuses_an_export(onnx_export, tmp_path):
    pytest.importorskip("cryptography")
    from mambaad.artifacts.signatures import make_keys

    public = make_keys(tmp_path / "key")
    with (
        pytest.raises(RunError, match="is an export, which has no signature"),
        opened(onnx_export, public),
    ):
        pass


def test_a_required_signature_is_asked_of_the_model_alone(
    calibrated_run, onnx_export, many_parts, tmp_path
):
    pytest.importorskip("cryptography")
    from mambaad.artifacts.signatures import make_keys, required
    from mambaad.workflows.bundle import bundle

    public = make_keys(tmp_path / "key")
    bundle(calibrated_run, tmp_path / "signed.mambaad", sign=tmp_path / "key")
    images = [many_parts / "bolt" / "test" / "good"]
    with required(public):
        assert check_export(tmp_path / "signed.mambaad", onnx_export, images).is_same
        # Thresholds are set in a folder without a signature, which errors do not name.
        settings = {"to": "torch-export", "precision": "bfloat16", "calibrate_on": many_parts}
        with pytest.raises(
            DataError, match=r"30 of the parts that \S+/signed\.mambaad was trained"
        ):
            export(tmp_path / "signed.mambaad", tmp_path / "out", **settings)
        assert not (tmp_path / "out").exists()
        with pytest.raises(RunError, match="has no signature"):
            check_export(calibrated_run, onnx_export, images)
        with pytest.raises(RunError, match="has no signature"):
            Inspector(onnx_export)


def test_thresholds_of_another_precision_give_no_verdicts(calibrated_run, copied, caplog):
    fields = json.loads((copied / MANIFEST).read_text())
    del fields["sha256"]
    (copied / MANIFEST).write_bytes(sealed({**fields, "precision": "int8"}))
    with caplog.at_level("WARNING", "mambaad.progress"):
        assert Inspector(copied).calibration is None


def test_an_export_is_not_calibrated_and_stays_as_it_is(copied, many_parts):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    with pytest.raises(ConfigError, match="is an export, whose thresholds are its own"):
        calibrate(copied, many_parts, new_parts=True)
    with pytest.raises(RunError, match="is an export, which is not changed"):
        commit(copied, {}, removed=["x"])
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
