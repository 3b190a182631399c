"""Data sets are read without PyTorch, whose import takes seconds."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import mambaad.data


def test_no_module_loads_torch() -> None:
    packages = pkgutil.walk_packages(mambaad.data.__path__, "mambaad.data.")
    modules = ["mambaad.types", "mambaad.data", *(found.name for found in packages)]
    assert {"mambaad.data.readers.mvtec", "mambaad.data.synthetic.factory"} <= {*modules}
    program = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} loads torch'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
