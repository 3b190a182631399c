"""MambaAD: one model for all of a factory's products that finds and outlines their defects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mambaad.lazy import lazy_names

if TYPE_CHECKING:
    from mambaad.errors import MambaADError
    from mambaad.inspection.inspector import Inspector
    from mambaad.models.build import build_model
    from mambaad.models.mambaad import MambaAD
    from mambaad.types import Prediction
    from mambaad.workflows.evaluate import Evaluation, evaluate
    from mambaad.workflows.predict import predict
    from mambaad.workflows.train import train

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
    "Evaluation": "mambaad.workflows.evaluate",
    "Inspector": "mambaad.inspection.inspector",
    "MambaAD": "mambaad.models.mambaad",
    "MambaADError": "mambaad.errors",
    "Prediction": "mambaad.types",
    "build_model": "mambaad.models.build",
    "evaluate": "mambaad.workflows.evaluate",
    "predict": "mambaad.workflows.predict",
    "train": "mambaad.workflows.train",
}


__getattr__ = lazy_names(__name__, _MODULES)
