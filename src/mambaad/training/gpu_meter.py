"""How busy a GPU is, as NVML counts it (package ``nvidia-ml-py``, the extra ``gpu``)."""

from __future__ import annotations

import torch

_EVERY = 10
"""Steps from one question to the next: each takes about a millisecond."""


class GpuMeter:
    """Asks now and then; silent without a GPU of NVIDIA's or without the package.

    Attributes:
        mean: of the answers, in per cent of the time that any kernel ran; None without any.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum, self._answers = 0.0, 0
        self._is_there = device.type == "cuda"

    def ask(self, step: int) -> None:
        """Ask at every tenth step."""
        if not self._is_there or step % _EVERY:
            return
        try:
            self._sum += torch.cuda.utilization(self._device)
            self._answers += 1
        except Exception:  # the package or its library is missing, or it refuses: kinds of its own
            self._is_there = False

    @property
    def mean(self) -> float | None:  # noqa: D102 (see the class)
        return self._sum / self._answers if self._answers else None

    @property
    def note(self) -> str:
        """For a line of progress."""
        return "" if self.mean is None else f"  GPU {self.mean:.0f} %"
