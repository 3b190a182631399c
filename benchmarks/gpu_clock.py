"""Sizes and clock of the benchmarks on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Sizes:
    """The sizes that are measured; smaller ones on a CPU."""

    stages: tuple[tuple[int, int], ...]  # side, D
    batch: int
    encoder: str
    rival: str  # RD4AD's encoder
    size: int
    batches: tuple[int, ...]
    sizes: tuple[int, ...]
    most_pixels: int  # of a batch that is inspected
    steps: int  # of training, until losses are compared


ON_GPU = Sizes(
    ((64, 128), (32, 256), (16, 512), (8, 1024)),
    *(16, "resnet34", "wide_resnet50_2", 256, (1, 16, 64), (256, 512, 1024), 64 * 256**2, 200),
)
ON_CPU = Sizes(
    ((16, 32), (8, 64), (4, 128), (2, 256)), *(2, "resnet18", "resnet18", 64, (1,), (64,), 64**2, 8)
)


class Clock:
    """A measurement of actions on a device: their time and memory.

    Attributes:
        first: seconds of each timed action's first five calls, which compile and record it.
    """

    def __init__(self, device: torch.device, rounds: int, seconds: float = float("inf")) -> None:
        self.device, self.rounds = device, rounds
        self.deadline = time.perf_counter() + seconds
        self.first: dict[str, float] = {}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], Any]) -> float:
        self.wait()
        started = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - started

    def medians(self, actions: dict[str, Callable[[], Any]]) -> dict[str, float | None]:
        """Time actions in turns, after five calls of each, which compile and record.

        None for what has no room in memory, or no time before the deadline.
        """
        times: dict[str, list[float]] = {name: [] for name in actions}
        fit = {name: action for name, action in actions.items() if self.fits(name, action)}
        for _ in range(self.rounds):
            for name, action in fit.items():
                times[name].append(self.seconds(action))
        return {name: statistics.median(t) if t else None for name, t in times.items()}

    def fits(self, name: str, action: Callable[[], Any]) -> bool:
        if time.perf_counter() > self.deadline:
            return False
        try:
            self.first[name] = sum(self.seconds(action) for _ in range(5))
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            return False
        return True

    def peak_mib(self, action: Callable[[], Any]) -> float | None:
        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        action()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None
