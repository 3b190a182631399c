"""Inspection with exported models, without PyTorch: what ``mambaad`` does with them, record for
record.

All modules but this one and ``command`` are those of ``mambaad``, which the build puts here.
"""

from mambaad_runtime.errors import MambaADError
from mambaad_runtime.inspection.inspector import Inspector
from mambaad_runtime.inspection.prediction import Prediction
from mambaad_runtime.types import Verdict

__all__ = ["Inspector", "MambaADError", "Prediction", "Verdict"]
