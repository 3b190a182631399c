"""Timing in rounds: each action once a round, so that what slows the machine slows all of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def seconds(action: Callable[[], Any]) -> float:
    """Measure the wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@torch.inference_mode()
def medians(
    actions: Mapping[str, Callable[[], Any]], rounds: int, repeats: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Measure each action's median seconds, after one call to warm up; ``repeats`` a round or 1.

    An action's first call in a round is not timed: the cache holds another action's data then.
    """
    repeats = repeats or {}
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for done in range(rounds):
        for name, action in actions.items():
            count = repeats.get(name, 1)
            action()
            times[name] += [seconds(action) for _ in range(count)]
        print(f"\rround {done + 1}/{rounds} ", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 40, end="\r", file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}
