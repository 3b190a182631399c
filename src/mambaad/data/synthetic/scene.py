"""The interface of a product: its random parameters, its construction, and its defects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mambaad.data.synthetic.noise import Frame, Map
from mambaad.data.synthetic.optics import Colour, Surface

Plan = dict[str, Any]
"""A part's drawn parameters, JSON-able; with the seed's streams they are the whole part."""


@dataclass(frozen=True)
class Severity:
    """Size and visibility of a defect; 1 and 1 at difficulty 0.5."""

    size: float
    strength: float

    @classmethod
    def of(cls, difficulty: float) -> Severity:
        """Scale a defect to a difficulty from 0 (easy) to 1 (hard)."""
        return cls(size=1.45 - 0.9 * difficulty, strength=1.35 - 0.7 * difficulty)


@dataclass
class Scene:
    """A part before the camera.

    ``body``: 1 where its surface can be damaged. ``inner``: the colour that damage exposes.
    """

    surface: Surface
    body: Map
    inner: Colour


Alteration = Callable[[Plan, np.random.Generator, Severity], dict[str, Any]]
"""Changes a plan into that of a wrongly made part, and returns the change."""


@dataclass(frozen=True)
class Product:
    """One product of the factory.

    ``surface_defects`` are those of :mod:`~mambaad.data.synthetic.defects` that suit it;
    ``alterations`` are its own: parts made or assembled wrongly.
    """

    plan: Callable[[np.random.Generator], Plan]
    build: Callable[[Plan, Frame], Scene]
    surface_defects: tuple[str, ...]
    alterations: Mapping[str, Alteration]

    @property
    def defects(self) -> tuple[str, ...]:
        """The kinds of defects that it can have."""
        return (*self.surface_defects, *self.alterations)
