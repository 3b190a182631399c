"""How far a figure may be from the truth, by the number of images that it was measured on."""

from __future__ import annotations

import math
from collections.abc import Callable

_Z = 1.959964  # of 95 %
_STEPS = 60  # halvings of an interval


def auroc_interval(auroc: float, good: int, defective: int) -> tuple[float, float]:
    """Compute a 95 % confidence interval of an image AU-ROC, in [0, 1].

    Method 5 of Newcombe, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic, part 2" (Statistics in Medicine, 2006): the values A for which
    |auroc - A| <= z sqrt(V(A)), with the variance of Hanley and McNeil (Radiology, 1982), both
    numbers of images in it replaced by their mean N:

        V(A) = A (1 - A) (1 + (N - 1) ((1 - A) / (2 - A) + A / (1 + A))) / (good defective)

    Unlike a standard error it does not vanish where all images were ranked right.

    Args:
        auroc: measured, in [0, 1].
        good, defective: numbers of images, 1 or more.
    """

    def is_possible(value: float) -> bool:
        others = (good + defective) / 2 - 1
        spread = value * (1 - value)
        spread *= 1 + others * ((1 - value) / (2 - value) + value / (1 + value))
        return abs(auroc - value) <= _Z * math.sqrt(spread / (good * defective))

    return _bound(auroc, 0.0, is_possible), _bound(auroc, 1.0, is_possible)


def _bound(inside: float, outside: float, is_possible: Callable[[float], bool]) -> float:
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if is_possible(middle):
            inside = middle
        else:
            outside = middle
    return inside
