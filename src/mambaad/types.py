"""The records that travel through the package, and the shapes they carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float


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
class Batch:
    """Images ready for a model, with where each came from.

    ``images``: float32, RGB, ImageNet mean and standard deviation, B x 3 x H x W.
    """

    images: Float[torch.Tensor, "b 3 h w"]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    ``score``: the maximum of the anomaly map; the higher, the more anomalous.
    ``anomaly_map``: float32, at the model's size, about 0 where the image looks like a good part.
    ``product``: its class, as given or as it looks; None where no class is known.
    """

    score: float
    anomaly_map: Float[np.ndarray, "h w"]
    product: str | None = None
