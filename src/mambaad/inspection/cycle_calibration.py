"""Thresholds by cycle: of the score that joins a part's frames, from good cycles.

Neighbouring frames are alike, so rates of single frames say little about cycles: the highest of ten
frames is above a threshold more often than one is. So the share of false alarms is stated for the
joined score, of cycles that were captured by the same plan. The cycles are what is exchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from mambaad.artifacts.export_folder import ExportPrecision
from mambaad.capture.plan import Plan
from mambaad.documents import DocumentError, read_json
from mambaad.errors import ConfigError, RunError
from mambaad.files import write_text
from mambaad.inspection.thresholds import Threshold, conformal_threshold

if TYPE_CHECKING:
    from mambaad.inspection.inspector import Inspector


@checked(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class CycleCalibration:
    """Thresholds of one product's cycles, for one model and one plan.

    ``scores``: of the good cycles. ``review``, ``fail``: thresholds on a cycle's score; their rates
    are shares of cycles. ``source``: where the cycles came from. ``weights``, ``precision``,
    ``runtime``, ``tiles``, ``frame_thresholds``: of the model, and of its own calibration.
    """

    product: str
    plan: Plan
    scores: Annotated[list[float], Field(min_length=1)]
    review: Threshold
    fail: Threshold
    source: str
    weights: str
    precision: ExportPrecision
    runtime: str
    tiles: tuple[int, int] | None
    frame_thresholds: tuple[float, float]
    format: Literal[1] = 1

    def check(self, inspector: Inspector, path: object = "the calibration by cycle") -> None:
        """Refuse a model or settings that it was not made with (RunError)."""
        now = _model(inspector, self.product)
        differing = [name for name, value in now.items() if getattr(self, name) != value]
        if differing:
            raise RunError(
                f"{path} was made with another model, or with other settings of it "
                f"({', '.join(differing)}), than {inspector.source}; make it again with --calibrate"
            )

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all (RunError)."""
        content = TypeAdapter(CycleCalibration).dump_json(self, indent=2)
        write_text(path, content.decode() + "\n")


def read_cycle_calibration(path: str | Path) -> CycleCalibration:
    """Read what ``mambaad watch --calibrate`` wrote (RunError)."""
    path = Path(path)
    try:
        found: CycleCalibration = TypeAdapter(CycleCalibration).validate_python(read_json(path))
    except DocumentError as error:
        raise RunError(str(error)) from error
    except (ValidationError, ConfigError) as error:
        raise RunError(
            f"{path} is no calibration by cycle, or one of a newer version; make it with mambaad "
            "watch --calibrate"
        ) from error
    return found


def calibrate_cycles(
    scores: Sequence[float],
    inspector: Inspector,
    product: str,
    plan: Plan,
    source: str,
    *,
    target_fpr: float | None = None,
    review_fpr: float | None = None,
) -> CycleCalibration:
    """Set the thresholds of cycles.

    Args:
        scores: of good cycles of the product, one or more, captured by the plan.
        inspector: which gave them; calibrated.
        product: of the cycles.
        plan: how they were captured.
        source: where they came from.
        target_fpr, review_fpr: shares of good cycles that may FAIL, and that may not PASS; by
            default as the model was calibrated for single images.
    """
    assert inspector.calibration is not None  # the caller has checked it
    c = inspector.calibration.classes[product]
    values = np.asarray(scores, float)
    return CycleCalibration(
        product=product,
        plan=plan,
        scores=values.tolist(),
        review=conformal_threshold(values, review_fpr or c.review.asked),
        fail=conformal_threshold(values, target_fpr or c.fail.asked),
        source=source,
        **_model(inspector, product),
    )


def _model(inspector: Inspector, product: str) -> dict[str, Any]:
    calibration = inspector.calibration
    c = calibration.classes.get(product) if calibration else None
    return {
        "weights": inspector.weights,
        "precision": inspector.precision,
        "runtime": inspector.runtime,
        "tiles": (inspector.tiling.size, inspector.tiling.stride) if inspector.tiling else None,
        "frame_thresholds": (c.review.value, c.fail.value) if c else None,
    }
