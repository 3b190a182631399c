"""The same numbers as torchvision, bit for bit."""

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from mambaad.models.normalise import IMAGENET_MEAN, IMAGENET_STD, _imagenet, normalise


def some_pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)


def test_images_are_normalised_as_torchvision_does_whatever_their_batch():
    pixels = some_pixels()
    theirs = Compose([ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    expected = torch.stack([theirs(Image.fromarray(p)) for p in pixels])
    together = normalise(torch.from_numpy(pixels))
    assert together.dtype == torch.float32
    assert together.is_contiguous()
    assert torch.equal(together, expected)
    assert torch.equal(torch.cat([normalise(torch.from_numpy(p)[None]) for p in pixels]), expected)


def test_values_follow_the_definition():
    pixels = some_pixels()
    true = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = normalise(torch.from_numpy(pixels)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(ours, true, atol=1e-6)


def test_what_inference_has_normalised_first_serves_training_too():
    images = torch.from_numpy(some_pixels())
    _imagenet.cache_clear()
    with torch.inference_mode():
        normalise(images)
    weight = torch.ones(1, requires_grad=True)
    (normalise(images) * weight).sum().backward()
    assert weight.grad is not None
