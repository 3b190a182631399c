"""Timing in rounds: each action once a round, so that what slows the machine slows all of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def seconds(action: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@torch.inference_mode()
def medians(
    actions: Mapping[str, Callable[[], Any]], rounds: int, repeats: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Median seconds of each action, after one call to warm up; ``repeats`` a round, 1 or as given.

    The first call of an action after another's is not timed: it finds the other one's data in the
    cache.
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
