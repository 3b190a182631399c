"""mambaad-runtime's modules, as its build makes them: what they load, and their records."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mambaad.errors import ConfigError
from mambaad.inference.operator_library import library_path

RUNTIME = Path(__file__).parents[2] / "runtime"
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "matplotlib", "typer", "mambaad")
UNUSED = (*HEAVY, "cryptography")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the package, as a wheel has it."""
    folder = tmp_path_factory.mktemp("runtime")
    package = folder / "mambaad_runtime"
    shutil.copytree(RUNTIME / "src" / "mambaad_runtime", package)
    command = [sys.executable, RUNTIME / "shared_modules.py", package]
    subprocess.run(command, check=True, timeout=120)
    with suppress(ConfigError):  # installed without a compiler: the scan runs by its definition
        shutil.copy(library_path(), package)
    return folder


def python(package, code, *arguments):
    """Run code where ``mambaad`` and PyTorch cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({UNUSED!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_module_loads_without_mambaad_and_pytorch(package):
    names = [
        ".".join(file.relative_to(package).with_suffix("").parts)
        for file in sorted(package.rglob("*.py"))
    ]
    assert "mambaad_runtime.inspection.inspector" in names
    assert "mambaad_runtime.inference.torch_engine" not in names
    done = python(package, f"import importlib\nfor n in {names!r}: importlib.import_module(n)")
    assert done.returncode == 0, done.stderr


def test_own_package_is_never_the_other(package):
    for file in package.rglob("*.py"):
        for line in file.read_text().splitlines():
            assert not line.strip().startswith(("from mambaad.", "import mambaad."))


@pytest.fixture(scope="module")
def exported(calibrated_run, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from mambaad.workflows.export import export

    out = tmp_path_factory.mktemp("exports") / "onnx"
    export(calibrated_run, out)
    return out


COMMAND = "from mambaad_runtime.command import main; sys.exit(main(sys.argv[1:]))"


def without_times(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(record.pop("time") for record in records)
    return [json.dumps(record) for record in records]


def test_records_are_mambaads(package, exported, many_parts, tmp_path):
    from mambaad.workflows.predict import predict

    images = many_parts / "bolt" / "test"
    done = python(package, COMMAND, exported, images, "--out", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    records = predict(exported, images, tmp_path / "here")
    assert {record.verdict for record in records} - {None}
    there, here = (
        without_times(tmp_path / name / "predictions.jsonl") for name in ("there", "here")
    )
    assert there == here
    table = "predictions.csv"
    assert (tmp_path / "there" / table).read_bytes() == (tmp_path / "here" / table).read_bytes()
    assert not list((tmp_path / "there").rglob("*.png"))


def test_an_export_that_must_be_signed_is_refused_without_cryptography(package, exported):
    code = "from mambaad_runtime import Inspector; Inspector(sys.argv[1], require_signature='key')"
    done = python(package, code, exported)
    assert "is an export, which has no signature" in done.stderr.splitlines()[-1]


def test_errors_are_one_line(package, exported, calibrated_run, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([calibrated_run, tmp_path], "no images"),
        ([tmp_path / "none", __file__], "none"),
        ([exported, tmp_path / "empty"], "no images"),
        ([exported, __file__, "--class", "spoon"], "--class"),
        ([calibrated_run, __file__], "give an export of it"),
    ]:
        done = python(package, COMMAND, *arguments, "--out", tmp_path / "out")
        assert done.returncode == 1, (arguments, done.stderr)
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
