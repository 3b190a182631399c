"""The records that travel through the package, and the shapes they carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Sample:
    """One image of a data set, not yet read.

    ``defect_type`` is the name of its folder, ``"good"`` for a good part.
    ``mask_path`` is None for a good part and where the data set has no mask for it.
    """

    path: Path
    class_name: str
    defect_type: str = "good"
    mask_path: Path | None = None

    @property
    def is_defective(self) -> bool:
        """Whether the data set says that this part is not good."""
        return self.defect_type != "good"


@dataclass(frozen=True)
class ProductClass:
    """One product of a factory: good parts to train on, good and defective parts to test on."""

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()

    @property
    def has_masks(self) -> bool:
        """Whether defects are outlined, so that pixel-level figures make sense."""
        return any(sample.mask_path for sample in self.test)


@dataclass(frozen=True)
class Batch:
    """Images ready for a model, with where each came from.

    ``images``: float32, RGB, ImageNet mean and standard deviation, B x 3 x H x W.
    """

    images: Float[torch.Tensor, "b 3 h w"]
    samples: tuple[Sample, ...]


class Verdict(str, Enum):
    """What is to be done with a part.

    ``REVIEW``: a person should look. ``UNKNOWN_PRODUCT``: like none of the products that the
    model knows. ``BAD_IMAGE``: blurred, badly exposed or of a wrong size, so nothing can be said.
    """

    PASS = "PASS"
    REVIEW = "REVIEW"
    FAIL = "FAIL"
    UNKNOWN_PRODUCT = "UNKNOWN PRODUCT"
    BAD_IMAGE = "BAD IMAGE"


@dataclass(frozen=True)
class Region:
    """A place of an image that looks defective, in pixels of the image as it came.

    ``box``: left, top, right, bottom; right and bottom are the first pixels outside.
    ``area_px``; ``area_mm2``: None where the class has no scale. ``peak``: the anomaly map's
    highest value in it, at ``peak_at`` (x, y).
    """

    box: tuple[int, int, int, int]
    area_px: float
    area_mm2: float | None
    peak: float
    peak_at: tuple[int, int]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image; of a calibrated one, also what is to be done.

    ``score``: the maximum of the anomaly map, where the class is inspected; the higher, the more
    anomalous.
    ``anomaly_map``: float32, at the model's size, about 0 where the image looks like a good part.
    ``product``: its class, as given or as it looks; None where no class is known.
    ``product_margin``: how sure a class that was not given is: 0, another is as near or nearer, to
    1.

    From the calibration of its class, and None (or empty) without one:
    ``verdict``, and ``reason``, why, in words. ``percentile``: the share of good parts that score
    lower, 0 to 100. ``p_value``: how likely a good part is to score as high.
    ``scale``: the map's values at both ends of the class's heatmaps; its middle is the threshold
    of FAIL. ``regions``: what looks defective, worst first; empty for a PASS; ``region_mask``:
    True inside of them, of the map's size. ``quality``: see
    :class:`mambaad.inspection.quality.Quality`.
    """

    score: float
    anomaly_map: Float[np.ndarray, "h w"]
    product: str | None = None
    product_margin: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    percentile: float | None = None
    p_value: float | None = None
    scale: tuple[float, float] | None = None
    regions: tuple[Region, ...] = ()
    region_mask: Bool[np.ndarray, "h w"] | None = None
    quality: Mapping[str, float] | None = None
