import re

import numpy as np
import pytest

from mambaad.serve.page.plots import Limits, curve, histogram


def test_bars_are_the_shares_of_each_bin():
    scores = np.concatenate([np.full(30, 0.2), np.full(10, 0.8)])
    plot = histogram(scores, [0.1, 0.2, 0.3, 0.4], [0.35, 0.9])
    bars = re.findall(r"M([\d.]+) 200V([\d.]+)H([\d.]+)V200Z", plot.bars)
    heights = {float(left): 200 - float(top) for left, top, _ in bars}
    assert len(bars) == 2
    low, high = sorted(heights)
    assert heights[low] == pytest.approx(3 * heights[high], abs=0.2)
    assert low <= plot.x(0.2) <= low + 760 / 60
    assert (plot.inspected, plot.calibrated) == (40, 4)


def test_the_axis_holds_thresholds_and_calibration():
    plot = histogram([], [0.1, 0.4], [0.35, 0.9])
    assert plot.low < 0.1 < 0.9 < plot.high
    assert plot.bars == ""
    assert 20 < plot.x(0.1) < plot.x(0.9) < 780
    assert plot.x(-5) == 20


def test_one_wild_score_does_not_squeeze_the_others():
    plot = histogram([0.1] * 10 + [900.0], [0.05, 0.2], [0.15, 0.2])
    assert plot.high < 1


def test_equal_scores_have_an_axis_too():
    plot = histogram([0.5], [0.5, 0.5], [0.5, 0.5])
    assert plot.low < 0.5 < plot.high
    assert plot.step > 0


def test_a_curve_keeps_its_highest_value():
    values = np.zeros(5000)
    values[3210] = 6.0
    points, level_y = curve(values, 5.0)
    ys = [float(point.split(",")[1]) for point in points.split()]
    assert len(ys) == 300
    assert min(ys) < level_y  # above the level, on a screen that counts downwards
    assert curve([], 5.0)[0] == ""
    assert curve([1.0], 5.0)[0].startswith("10.0,")


def test_limits_place_a_score():
    limits = Limits(low=0.2, high=0.4)
    assert limits.x(0.2) < limits.x(0.3) < limits.x(0.4)
    assert limits.x(99) == limits.x(50) <= 390
