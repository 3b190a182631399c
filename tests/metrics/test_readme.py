"""Every name in the README of the metrics exists."""

import importlib
import re
from pathlib import Path

import pytest

import mambaad.metrics
from mambaad.metrics.names import PROTOCOLS

FOLDER = Path(mambaad.metrics.__file__).parent
NAMES = sorted(set(re.findall(r"`([^`]+)`", (FOLDER / "README.md").read_text(encoding="utf-8"))))
MODULES = [
    importlib.import_module(f"mambaad.metrics.{path.stem}")
    for path in FOLDER.glob("*.py")
    if path.stem != "__init__"
]


def defines(module, name):
    for part in name.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_file_a_protocol_or_defined_in_a_module(name):
    if name.endswith(".py"):
        assert (FOLDER / name).is_file()
    else:
        assert name in PROTOCOLS or any(defines(module, name) for module in MODULES)


def test_every_module_is_listed():
    files = {Path(module.__file__).name for module in MODULES}
    assert files == {name for name in NAMES if name.endswith(".py")}
