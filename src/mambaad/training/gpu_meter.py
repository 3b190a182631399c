"""The utilisation of a GPU, from NVML (package ``nvidia-ml-py``, the extra ``gpu``)."""

from __future__ import annotations

import torch

_EVERY = 10
"""Steps between two readings, each of which takes about a millisecond."""


class GpuMeter:
    """The mean utilisation over an epoch; None without an NVIDIA GPU or without the package.

    Attributes:
        mean: of the readings, in per cent of the time in which any kernel ran; None without any.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum, self._readings = 0.0, 0
        self._is_available = device.type == "cuda"

    def read(self, step: int) -> None:
        """Take a reading at every tenth step."""
        if not self._is_available or step % _EVERY:
            return
        try:
            self._sum += torch.cuda.utilization(self._device)
            self._readings += 1
        except Exception:  # the package or its library is missing, or it refuses: errors of its own
            self._is_available = False

    @property
    def mean(self) -> float | None:  # noqa: D102 (see the class)
        return self._sum / self._readings if self._readings else None

    @property
    def note(self) -> str:
        """The mean as the end of a line of progress; empty without one."""
        return "" if self.mean is None else f"  GPU {self.mean:.0f} %"
