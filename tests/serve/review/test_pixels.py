"""Stored images were let in by the service's limit, whatever the model's own is."""

import io

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import DataError
from mambaad.serve.review.pixels import stored_pixels
from mambaad.types import Reading


def test_an_image_larger_than_the_model_s_limit_is_looked_at():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    found = stored_pixels(file.getvalue(), "a part", Reading(max_pixels=100))
    assert np.array_equal(found, pixels)


def test_what_is_no_image_is_said():
    with pytest.raises(DataError, match="a part cannot be read as an image"):
        stored_pixels(b"nothing", "a part", Reading())
