"""A calibration as a table, and what its reader should know."""

from __future__ import annotations

import math

from mambaad.inspection.calibration import Calibration, ClassCalibration


def calibration_rows(calibration: Calibration) -> list[list[str]]:
    """Make a heading and a row per class: good parts, and both thresholds with their rates."""
    rows = [
        ["class", "good parts", "REVIEW above", "rate", "95 %", "FAIL above", "rate", "95 %", ""]
    ]
    for name, c in calibration.classes.items():
        row = [name, str(len(c.scores))]
        for threshold in (c.review, c.fail):
            low, high = threshold.interval
            row += [f"{threshold.value:.4f}", f"{threshold.rate:.1%}", f"{low:.1%}-{high:.1%}"]
        rows.append([*row, _shortfall(c)])
    return rows


def calibration_notes(calibration: Calibration) -> list[str]:
    """Say for which classes both thresholds are the same, so that no part is ever in REVIEW."""
    same = {
        name: len(c.scores)
        for name, c in calibration.classes.items()
        if c.review.value == c.fail.value
    }
    if not same:
        return []
    asked = next(iter(calibration.classes.values())).fail.asked
    shown = ", ".join(f"{name} ({count} good parts)" for name, count in same.items())
    return [
        f"REVIEW and FAIL begin at the same score for {shown}: no part of these is ever in REVIEW; "
        f"calibrate on more good parts ({_needed(asked)} or more for a rate of {asked:.1%}), or "
        "with rates further apart"
    ]


def _needed(rate: float) -> int:
    return math.ceil(1 / rate - 1e-9) - 1  # 1e-9: rounding must not add a part


def _shortfall(c: ClassCalibration) -> str:
    short = [t for t in (c.review, c.fail) if not t.is_reached]
    if not short:
        return ""
    return f"{short[-1].asked:.1%} needs {_needed(short[-1].asked)} good parts"
