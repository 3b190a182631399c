"""What may import what: see docs/architecture.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mambaad

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mambaad"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# The table's rows "| 3 | `scoring` |".
LAYERS = {
    module: int(number)
    for number, modules in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)
    for module in re.findall(r"`(\w+)`", modules)
}


def imports_of(file):
    """The parts of the package that a file imports, at whatever depth of its code."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [node.module or ""]
            if node.module == "mambaad":
                names = [f"mambaad.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("mambaad."):
                yield name.split(".")[1]


def test_every_part_has_a_layer():
    parts = {
        path.stem for path in SOURCE.iterdir() if path.name[0] != "_" and path.name != "py.typed"
    }
    assert parts == set(LAYERS)


@pytest.mark.parametrize("part", sorted(LAYERS))
def test_a_part_imports_from_its_layer_or_those_before(part):
    folder = SOURCE / part
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{part}.py"]:
        for imported in imports_of(file):
            if imported == "_native":
                assert file == SOURCE / "ops" / "native.py"
            else:
                assert LAYERS[imported] <= LAYERS[part], f"{file} imports mambaad.{imported}"


def test_the_public_names_are_what_they_say():
    for name in mambaad.__all__:
        assert getattr(mambaad, name).__name__ == name
    assert len(mambaad.__all__) <= 12
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mambaad.nothing  # noqa: B018


def test_importing_a_module_does_not_hide_the_function_of_its_name():
    program = (
        "import mambaad.workflows.train, mambaad.workflows.evaluate, mambaad, sys\n"
        "assert callable(mambaad.workflows.train) and callable(mambaad.workflows.evaluate)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_help_does_not_wait_for_pytorch():
    program = "import mambaad.cli, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_drawing_processes_do_not_wait_for_pytorch():
    program = "import mambaad.data.synthetic, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_names_of_the_data_package_are_what_they_say():
    from mambaad import data

    for name in data.__all__:
        assert getattr(data, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        data.nothing  # noqa: B018


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.name)
def test_no_file_is_longer_than_400_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400
