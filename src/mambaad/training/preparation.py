"""What a system measures of the encoder's maps before it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mambaad.data.read_ahead import read_batches
from mambaad.models.normalise import normalise
from mambaad.models.system import System
from mambaad.types import Sample

_IMAGES = 200
_BATCH = 8


@torch.inference_mode()
def prepare(model: System, samples: Sequence[Sample], size: tuple[int, int]) -> None:
    """Show an untrained system the encoder's maps of up to 200 good parts, evenly spaced.

    Args:
        model: on the CPU; it is changed in place. Images are read only if it asks for their maps.
        samples: the training images, of all classes.
        size: height and width to which they are resized.

    Raises:
        DataError: an image that cannot be read.
    """
    some = samples[:: -(-len(samples) // _IMAGES)]
    batches = read_batches(some, size, _BATCH)
    model.prepare(model.encoder(normalise(torch.from_numpy(b.pixels))) for b in batches)
