"""The systems that can be trained, by name."""

from __future__ import annotations

import importlib
from typing import Any

SYSTEMS = {
    "mambaad": "mambaad.models.mambaad:MambaAD",
    "rd4ad": "mambaad.models.baselines.rd4ad:RD4AD",
    "uniad": "mambaad.models.baselines.uniad:UniAD",
}
"""Module and class (a :class:`mambaad.models.system.System`); imported when asked for."""


def system_class(name: str) -> Any:
    """The class of a system in :data:`SYSTEMS`."""
    module, class_name = SYSTEMS[name].split(":")
    return getattr(importlib.import_module(module), class_name)
