"""Verdicts in plain words: what was found, where, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from mambaad.inspection.prediction import Prediction
from mambaad.types import Region, Verdict

FOUND, TO_REVIEW, MISSED, FALSE_ALARM = "found", "to review", "missed", "false alarm"
PASSED, UNDECIDED = "passed", "no decision"
MISTAKES = (MISSED, FALSE_ALARM)
"""Outcomes that a page marks and shows first."""


def what(prediction: Prediction) -> str:
    """Say what a verdict means, in a sentence; "" without a verdict."""
    places = len(prediction.regions)
    if prediction.verdict is Verdict.FAIL:
        return f"Looks defective{_in_places(places)}."
    if prediction.verdict is Verdict.REVIEW:
        return f"Perhaps defective{_in_places(places)}: a person should look."
    if prediction.verdict is Verdict.UNKNOWN_PRODUCT:
        return "Looks like none of the known products, so it was not judged."
    if prediction.verdict is Verdict.BAD_IMAGE:
        return f"The image cannot be judged: {prediction.reason}."
    if prediction.verdict is Verdict.PASS and prediction.reason:
        return "Looks good: what stands out is smaller than the smallest defect."
    return "Looks good." if prediction.verdict is Verdict.PASS else ""


def _in_places(count: int) -> str:
    return "" if not count else " in one place" if count == 1 else f" in {count} places"


def image_shape(prediction: Prediction, shown: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a part's image; ``shown``: of its pixels, which a large one is read at.

    What is read by strips is kept at a lower resolution than its regions are stated at.
    """
    quality = prediction.quality
    return (int(quality["height"]), int(quality["width"])) if quality else shown


def where(regions: Sequence[Region], shape: tuple[int, int]) -> str:
    """Say where the worst region is; "" without regions.

    Args:
        regions: worst first, in pixels of the image.
        shape: height and width of the image.
    """
    if not regions:
        return ""
    worst = regions[0]
    left, top, right, bottom = worst.box
    x, y = worst.peak_at
    size = f"{right - left} x {bottom - top} px"
    if worst.area_mm2 is not None:
        size += f", {worst.area_mm2:.2f} mm²"
    lead = "worst at the " if len(regions) > 1 else ""
    return f"{lead}{_place(x / shape[1], y / shape[0])} (x {x}, y {y}), {size}"


def _place(x: float, y: float) -> str:
    """Name a ninth of an image; ``x`` and ``y``: shares of its width and height."""
    column = "left" if x < 1 / 3 else "right" if x >= 2 / 3 else ""
    row = "upper" if y < 1 / 3 else "lower" if y >= 2 / 3 else ""
    if row and column:
        return f"{row} {column}"
    return {"upper": "top", "lower": "bottom"}.get(row, column) or "centre"


def how_sure(prediction: Prediction, severity: float, good: int) -> str:
    """Say how far a score is from those of good parts; "" where it was not judged.

    Args:
        prediction: of a part whose product is calibrated.
        severity: its score on a scale where good parts' median is 0 and the limit of FAIL 1.
        good: number of good parts that it was calibrated on.
    """
    if prediction.percentile is None:
        return ""
    if prediction.percentile >= 100:
        above = f"scores above all {good} good parts of the calibration"
    else:
        above = f"scores above {prediction.percentile:.0f} % of good parts"
    return f"{severity:.1f} times the limit for FAIL; {above}"


def outcome(verdict: Verdict | None, is_defective: bool) -> str:
    """Name what a verdict is worth, given what the part is; "" without a verdict."""
    if verdict is None:
        return ""
    if verdict in (Verdict.UNKNOWN_PRODUCT, Verdict.BAD_IMAGE):
        return UNDECIDED
    if is_defective:
        return MISSED if verdict is Verdict.PASS else FOUND
    if verdict is Verdict.REVIEW:
        return TO_REVIEW
    return FALSE_ALARM if verdict is Verdict.FAIL else PASSED
