"""The form for inference of each state-space block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mambaad.inference.packed.ss2d import SS2D
from mambaad.inference.packed.ssd import SSD
from mambaad.inference.packed.vssd import VSSD
from mambaad.models.mixers import ss2d, ssd, vssd

TWINS: dict[type[nn.Module], Callable[..., Any]] = {
    ss2d.SS2D: SS2D,
    vssd.VSSD: VSSD,
    ssd.SSD: SSD,
}
"""For each block of :mod:`mambaad.models.mixers.table` its twin here."""
