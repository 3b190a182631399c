"""MambaAD: one model for all of a factory's products that finds and outlines their defects."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mambaad.config import TrainConfig
    from mambaad.data.parts import Part
    from mambaad.errors import MambaADError
    from mambaad.inspection.inspector import Inspector
    from mambaad.inspection.prediction import Prediction
    from mambaad.models.build import build_model
    from mambaad.models.mambaad import MambaAD
    from mambaad.training.callbacks import StepEnd
    from mambaad.types import Verdict
    from mambaad.workflows.bundle import bundle
    from mambaad.workflows.calibrate import calibrate
    from mambaad.workflows.evaluate import Evaluation, evaluate
    from mambaad.workflows.extend import extend
    from mambaad.workflows.monitor import monitor
    from mambaad.workflows.predict import predict
    from mambaad.workflows.train import train
    from mambaad.workflows.validation import EpochEnd

    __version__: str

__all__ = [
    "EpochEnd",
    "Evaluation",
    "Inspector",
    "MambaAD",
    "MambaADError",
    "Part",
    "Prediction",
    "StepEnd",
    "TrainConfig",
    "Verdict",
    "__version__",
    "build_model",
    "bundle",
    "calibrate",
    "evaluate",
    "extend",
    "monitor",
    "predict",
    "train",
]

# Imported on first use: PyTorch takes seconds to load, and `mambaad --help` should not.
_MODULES = {
    "EpochEnd": "mambaad.workflows.validation",
    "Evaluation": "mambaad.workflows.evaluate",
    "Inspector": "mambaad.inspection.inspector",
    "MambaAD": "mambaad.models.mambaad",
    "MambaADError": "mambaad.errors",
    "Part": "mambaad.data.parts",
    "Prediction": "mambaad.inspection.prediction",
    "StepEnd": "mambaad.training.callbacks",
    "TrainConfig": "mambaad.config",
    "Verdict": "mambaad.types",
    "build_model": "mambaad.models.build",
    "bundle": "mambaad.workflows.bundle",
    "calibrate": "mambaad.workflows.calibrate",
    "evaluate": "mambaad.workflows.evaluate",
    "extend": "mambaad.workflows.extend",
    "monitor": "mambaad.workflows.monitor",
    "predict": "mambaad.workflows.predict",
    "train": "mambaad.workflows.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("mambaad")
    elif name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'mambaad' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()} - {"TYPE_CHECKING", "Any", "annotations", "importlib"})
