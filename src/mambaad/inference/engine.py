"""The engine protocol: a batch of images in, observations out, all NumPy.

Inspection depends on this protocol alone, whatever runs the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    from mambaad.models.system import System


class Evidence(NamedTuple):
    """What an image's score is made of; kept only where it is asked for, as it is large.

    ``scale_maps``: of each scale, not smoothed
    (:attr:`mambaad.models.scoring.Measures.scale_maps`). ``strides``: of the scales, in pixels.
    ``smoothing``: standard deviation of the Gaussian that their mean is smoothed with.
    ``embedding``: of the image (:func:`mambaad.models.embedding.embedding`).
    """

    scale_maps: Float[np.ndarray, "scales h w"]
    strides: tuple[int, ...]
    smoothing: float
    embedding: Float[np.ndarray, " c"]


class Observation(NamedTuple):
    """A model's output for one image, before any decision.

    ``score``: the image score, the maximum of ``scored_map``; UniAD's of the map's means over
    squares of 16 x 16 pixels. ``anomaly_map``: float32, at the engine's size, 0 or more, about 0
    where the image looks like a good part (MambaAD, section 3.1). ``distances``: from the image's
    embedding to each product's prototype, float32, 0 or more, in the order of the products; empty
    if no product is known. ``error_map``: the anomaly map without what a residual head added to
    it; None without a head. ``evidence``: None unless the engine was told to keep it.
    """

    score: float
    anomaly_map: Float[np.ndarray, "h w"]
    distances: Float[np.ndarray, " products"]
    error_map: Float[np.ndarray, "h w"] | None = None
    evidence: Evidence | None = None

    @property
    def scored_map(self) -> Float[np.ndarray, "h w"]:
        """The map that scores and verdicts go by; nowhere above the anomaly map."""
        return self.anomaly_map if self.error_map is None else self.error_map


@runtime_checkable
class Engine(Protocol):
    """A trained model, ready to observe images."""

    @property
    def device(self) -> str:
        """The type of device that it computes on: ``"cpu"``, ``"cuda"``, ..."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images and anomaly maps, in pixels."""

    @property
    def batch_size(self) -> int:
        """The number of images at a time that is fastest."""

    @property
    def reads_ahead(self) -> int:
        """The number of threads that should decode images for it."""

    @property
    def trained(self) -> System | None:
        """The model as trained, for explanations; None if it was not kept."""

    def observe(self, images: UInt8[np.ndarray, "b h w 3"]) -> list[Observation]:
        """Observe one or more images, 8-bit RGB at the engine's size; returns them in order.

        On a CPU an image's observation is the same to the bit, whatever else is in its batch.
        """
