"""Plots as numbers for an SVG: histograms of scores with thresholds, and curves of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEFT, WIDTH, BASE, HEIGHT = 20, 760, 200, 160  # of the plot; static/thresholds.js knows them too
BINS = 60
_MOST_POINTS = 300  # of a curve: more would not be seen


@dataclass(frozen=True)
class Histogram:
    """Scores of inspected and of calibration's parts, as paths of an SVG of 800 x 240.

    ``low``, ``high``: ends of the axis, which hold all scores and thresholds. ``bars``,
    ``outline``: paths; both are shares of their own parts, to one scale. ``ticks``: places and
    values on the axis, to be written with ``digits``.
    """

    low: float
    high: float
    bars: str
    outline: str
    ticks: tuple[tuple[float, float], ...]
    digits: int
    inspected: int
    calibrated: int

    @property
    def step(self) -> float:
        """Step of a slider over the axis."""
        return float(f"{(self.high - self.low) / 1000:.2g}")

    def x(self, score: float) -> float:
        """The place of a score on the axis."""
        return round(
            LEFT + WIDTH * float(np.clip((score - self.low) / (self.high - self.low), 0, 1)), 2
        )


def histogram(
    inspected: Sequence[float] | Float[np.ndarray, " n"],
    calibrated: Sequence[float] | Float[np.ndarray, " m"],
    thresholds: Sequence[float],
) -> Histogram:
    """Make the histogram of a product.

    Args:
        inspected: scores of inspected parts, finite; may be empty.
        calibrated: scores that the thresholds were set on, one or more.
        thresholds: which the axis should hold as well.
    """
    inspected, calibrated = np.asarray(inspected, float), np.asarray(calibrated, float)
    # A few parts with very high scores must not squeeze all others into one bar.
    top = max(calibrated.max(), *thresholds)
    low = float(min(calibrated.min(), np.min(inspected, initial=np.inf), *thresholds))
    highest = float(max(top, np.quantile(inspected, 0.99) if len(inspected) else top))
    high = min(highest, low + 4 * max(float(top) - low, 1e-6))
    margin = max(0.03 * (high - low), 1e-6)
    low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    shares = [
        np.histogram(np.clip(scores, low, high), edges)[0] / max(len(scores), 1)
        for scores in (inspected, calibrated)
    ]
    scale = HEIGHT / max(float(np.max(shares)), 1e-12)
    xs = LEFT + WIDTH * np.linspace(0, 1, BINS + 1)
    digits = max(0, 1 - int(np.floor(np.log10(high - low))) + 1)
    values = np.linspace(low + margin, high - margin, 5)
    ticks = tuple(
        (round(float(LEFT + WIDTH * (v - low) / (high - low)), 2), float(v)) for v in values
    )
    return Histogram(
        low,
        high,
        _bars(xs, scale * shares[0]),
        _steps(xs, scale * shares[1]),
        ticks,
        digits,
        len(inspected),
        len(calibrated),
    )


def _bars(xs: Float[np.ndarray, " n1"], heights: Float[np.ndarray, " n"]) -> str:
    return "".join(
        f"M{left:.1f} {BASE}V{BASE - height:.1f}H{right - 1:.1f}V{BASE}Z"
        for left, right, height in zip(xs[:-1], xs[1:], heights, strict=True)
        if height > 0
    )


def _steps(xs: Float[np.ndarray, " n1"], heights: Float[np.ndarray, " n"]) -> str:
    steps = "".join(
        f"V{BASE - height:.1f}H{right:.1f}" for right, height in zip(xs[1:], heights, strict=True)
    )
    return f"M{xs[0]:.1f} {BASE}{steps}V{BASE}"


@dataclass(frozen=True)
class Limits:
    """An axis from 10 to 390 for a score, with REVIEW at ``low`` and FAIL at ``high``."""

    low: float
    high: float

    def x(self, score: float) -> float:
        """The place of a score on the axis."""
        share = (score - self.low) / (self.high - self.low)
        return round(60 + 280 * float(np.clip(share, -0.15, 1.15)), 1)


def curve(values: Sequence[float] | Float[np.ndarray, " n"], level: float) -> tuple[str, float]:
    """Make a curve of evidence and its alarm level for an SVG of 400 x 120.

    Args:
        values: one after each part.
        level: at which the alarm is raised, above 0.

    Returns:
        The points of a polyline, and the height of the level.
    """
    values = np.asarray(values, float)
    top = max(float(values.max(initial=0.0)), level) * 1.15
    bottom = min(float(values.min(initial=0.0)), 0.0)
    spread = top - bottom
    # Of each group of neighbours the highest, so that no alarm disappears.
    if not len(values):
        return "", round(100 - 90 * (level - bottom) / spread, 1)
    groups = np.array_split(values, min(len(values), _MOST_POINTS))
    peaks = np.asarray([group.max() for group in groups])
    xs = np.linspace(10, 390, len(peaks)) if len(peaks) > 1 else np.asarray([10.0])
    ys = 100 - 90 * (peaks - bottom) / spread
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return points, round(100 - 90 * (level - bottom) / spread, 1)
