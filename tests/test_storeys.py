"""The storeys of docs/architecture.md: a module imports only from those below it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mambaad

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mambaad"
FILES = sorted(SOURCE.rglob("*.py"))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# The table's rows "| 2 | `models` |", each a list of parts: packages or modules.
STOREYS = [
    re.findall(r"`(\w+)`", parts) for parts in re.findall(r"^\| \d \| (.*) \|$", PAGE, re.MULTILINE)
]
STOREY_OF = {part: number for number, parts in enumerate(STOREYS) for part in parts}
FOUNDATION = STOREYS[0]
WITHOUT_TORCH = (
    *FOUNDATION,
    "data",
    "metrics",
    "artifacts",
    "capture",
    "inspection",
    "shards",
    "serve",
    "cli",
)


def part_of(file):
    """The package or module of the house that a file belongs to; its own name for ``__init__``."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(code):
    """Lines and names of what a module imports of the package, at any depth and also by name.

    Relative imports are given as they are written, with their dots.
    """
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}"]
            if node.module == "mambaad" and not node.level:
                names = [f"mambaad.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = re.findall(
                r"^mambaad\.[\w.:]+$", node.value
            )  # such as "mambaad.config:SYSTEMS"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        for name in names:
            if re.match(r"\.|mambaad\b", name):
                yield node.lineno, name


def problem_of(part, name):
    """Why a module of a part may not import a name of the package; None where it may."""
    if name.startswith("."):
        return "is relative"
    imported = re.split(r"[.:]", name + ".")[1]
    if imported == part:
        return None
    if imported not in STOREY_OF:
        return "is in no storey"
    if part in FOUNDATION and imported in FOUNDATION:
        later = FOUNDATION.index(imported) > FOUNDATION.index(part)
        return "comes later in the foundation" if later else None
    difference = STOREY_OF[imported] - STOREY_OF[part]
    if difference > 0:
        return "is above"
    return "is beside" if difference == 0 else None


def test_every_part_has_one_storey():
    parts = {p.stem for p in SOURCE.iterdir() if p.name[0] != "_" and p.suffix in ("", ".py")}
    assert sorted(part for parts_of_one in STOREYS for part in parts_of_one) == sorted(parts)


@pytest.mark.parametrize("part", sorted(STOREY_OF))
def test_a_part_imports_only_from_storeys_below(part):
    found = [
        f"{file.relative_to(ROOT)}:{line} imports {name}, which {problem}"
        for file in FILES
        if part_of(file) == part
        for line, name in imports_of(file.read_text(encoding="utf-8"))
        if name != "mambaad._native" and (problem := problem_of(part, name))
    ]
    assert not found, "\n".join(found)


def test_only_one_module_loads_what_cpp_built():
    found = [
        str(file.relative_to(SOURCE))
        for file in FILES
        if any(
            name.startswith("mambaad._native")
            for _, name in imports_of(file.read_text(encoding="utf-8"))
        )
    ]
    assert found == ["ops/native_module.py"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("from mambaad.errors import DataError", None),
        ("from mambaad.models.build import build_model", None),
        ("from mambaad import ops", None),
        ("import mambaad.inference.engine", None),
        ("from mambaad.training.loop import fit", "is beside"),
        ("import mambaad.report.junit", "is above"),
        ("def f():\n    from mambaad.workflows import train", "is above"),
        ("if TYPE_CHECKING:\n    from mambaad.cli.app import app", "is above"),
        ("importlib.import_module('mambaad.cli')", "is above"),
        ("import_module('.records', 'mambaad.inspection')", "is relative"),
        ("__import__('mambaad.report')", "is above"),
        ("TABLE = {'rd4ad': 'mambaad.report.junit:Case'}", "is above"),
        ("NAME = f'mambaad.workflows.{name}'", "is above"),
        ("from .records import Record", "is relative"),
        ("from . import records", "is relative"),
        ("import mambaad", "is in no storey"),
        ("from mambaad import Inspector", "is in no storey"),
        ('"""See :class:`mambaad.workflows.train`."""', None),
    ],
)
def test_what_counts_as_an_import(code, problem):
    # As if written in mambaad.inspection.
    found = {problem_of("inspection", name) for _, name in imports_of(code)} - {None}
    assert found == ({problem} if problem else set())


def test_the_foundation_is_in_order():
    assert problem_of("config", "mambaad.errors") is None
    assert problem_of("errors", "mambaad.config") == "comes later in the foundation"


@pytest.mark.parametrize("part", WITHOUT_TORCH)
def test_a_part_does_not_load_torch(part):
    program = (
        "import importlib, pkgutil, sys\n"
        f"part = importlib.import_module('mambaad.{part}')\n"
        "for module in pkgutil.walk_packages(getattr(part, '__path__', []), part.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "    assert 'torch' not in sys.modules, module.name\n"
        "assert 'torch' not in sys.modules, part.__name__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_the_front_door_is_not_imported_relatively():
    assert not [n for _, n in imports_of((SOURCE / "__init__.py").read_text()) if n[0] == "."]


def test_the_public_names_are_what_they_say():
    for name in set(mambaad.__all__) - {"__version__"}:
        assert getattr(mambaad, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mambaad.nothing  # noqa: B018


def test_dir_shows_the_public_names_before_they_are_used():
    program = "import mambaad; assert set(mambaad.__all__) <= set(dir(mambaad)), dir(mambaad)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_module_hides_a_public_name():
    modules = {path.stem for path in SOURCE.iterdir()}
    assert not modules & (set(mambaad.__all__) - {"__version__"})


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_longer_than_400_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400
