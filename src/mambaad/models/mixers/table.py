"""The state-space blocks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.mixers.ssd import SSD
from mambaad.models.mixers.vssd import VSSD
from mambaad.ops.orders import ScanMethod

Mixer = Literal["s6", "vssd", "ssd"]

MIXERS: dict[Mixer, Callable[[int, ScanMethod, int, int, int], nn.Module]] = {
    "s6": SS2D,
    "vssd": lambda channels, scan, directions, states, expand: VSSD(channels, states, expand),
    "ssd": lambda channels, scan, directions, states, expand: SSD(channels, scan, states, expand),
}
"""From channels, scan, directions, states and expand (see :class:`SS2D`) to the block.

Each takes of these what it uses; :data:`mambaad.recipes.UNUSED_BY_MIXER` names what it does not.
"""
