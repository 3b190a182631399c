"""MambaAD: one model for all of a factory's products that finds and outlines their defects."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mambaad.lazy import lazy_names

if TYPE_CHECKING:
    from mambaad.errors import MambaADError
    from mambaad.evaluate import Evaluation, evaluate
    from mambaad.inspection import Inspector
    from mambaad.models import MambaAD, build_model
    from mambaad.predict import predict
    from mambaad.train import train
    from mambaad.types import Prediction

__all__ = [
    "Evaluation",
    "Inspector",
    "MambaAD",
    "MambaADError",
    "Prediction",
    "build_model",
    "evaluate",
    "predict",
    "train",
]

# Imported on first use: PyTorch takes seconds, and `mambaad --help` should not.
_MODULES = {
    "Evaluation": "mambaad.evaluate",
    "Inspector": "mambaad.inspection",
    "MambaAD": "mambaad.models",
    "MambaADError": "mambaad.errors",
    "Prediction": "mambaad.types",
    "build_model": "mambaad.models",
    "evaluate": "mambaad.evaluate",
    "predict": "mambaad.predict",
    "train": "mambaad.train",
}


__getattr__ = lazy_names(__name__, _MODULES)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the module mambaad.train must not hide the function mambaad.train. (What else is
        # in that module: "from mambaad.train import Interrupted".)
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
