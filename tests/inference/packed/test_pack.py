"""The packed model computes what the model does."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mambaad.config import make_config
from mambaad.inference.packed import convolution
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_system
from mambaad.models.mixers.table import MIXERS
from mambaad.models.parallel import BatchNorm2d
from tests.inference.packed.conftest import LITE, as_if_trained, trained_model

SIZES = {
    "published decoder": {},
    "lite": LITE,
    "vssd": {**LITE, "mixer": "vssd"},
    "ssd": {**LITE, "mixer": "ssd"},
    "basic Mamba": {"depths": (2, 2, 2, 2), "scan": "sweep", "directions": 1, "kernels": ()},
    "one direction, odd kernels": {"depths": (1, 2, 1, 1), "directions": 1, "kernels": (3, 5, 7)},
}


@torch.inference_mode()
def largest_difference(model, packed, image):
    """Over all maps, each relative to its largest value."""
    found, expected = packed(image), model(image)
    return max(
        float((a - b).abs().max() / b.abs().max())
        for maps, others in zip(found, expected, strict=True)
        if others is not None
        for a, b in zip(maps, others, strict=True)
    )


@pytest.fixture(params=[True, False], ids=["packed", "without packed weights"])
def packing(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(convolution, "can_pack", lambda dtype: False)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.no_grad()
def test_a_residual_head_computes_what_it_did(precision):
    torch.manual_seed(0)
    config = make_config({"encoder": "resnet18", "variant": "lite", "head": "residual"})
    model = build_system(config, "random")
    model.head.begin()
    as_if_trained(model)
    found = pack(copy.deepcopy(model), precision)(torch.randn(2, 3, 64, 96))
    expected = model.head(found.features, found.reconstructed)
    torch.testing.assert_close(found.logits, expected, rtol=0, atol=1e-4)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES)
def test_float32_computes_what_the_model_does(settings):
    model = trained_model(**settings)
    packed = pack(copy.deepcopy(model))
    # Another size and batch afterwards: what was laid out for the first must serve it too.
    for shape in ((1, 3, 160, 128), (2, 3, 128, 192), (1, 3, 160, 128)):
        assert largest_difference(model, packed, torch.randn(shape)) < 2e-5


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize("mixer", MIXERS)
def test_bfloat16_is_close_and_gives_float32(mixer):
    model = trained_model(**LITE, mixer=mixer)
    packed = pack(copy.deepcopy(model), "bfloat16")
    image = torch.randn(1, 3, 64, 64)
    assert 1e-4 < largest_difference(model, packed, image) < 0.1
    maps = packed(image)
    assert all(t.dtype == torch.float32 for t in maps.features + maps.reconstructed)


GRID = {"encoder": "vit_tiny_patch16_224", "encoder_groups": [[0], [1, 2]], "decoder_width": 48}


@pytest.mark.usefixtures("packing")
def test_on_one_grid_it_computes_what_the_model_does():
    torch.manual_seed(0)
    config = make_config({**GRID, "variant": "lite"})
    model = build_system(config, "random").eval()
    packed, half = pack(copy.deepcopy(model)), pack(copy.deepcopy(model), "bfloat16")
    for shape in ((1, 3, 48, 80), (2, 3, 64, 48)):
        images = torch.randn(shape)
        assert largest_difference(model, packed, images) < 2e-5
        assert 1e-4 < largest_difference(model, half, images) < 0.1
    maps = half(images)
    assert all(t.dtype == torch.float32 for t in maps.features + maps.reconstructed)


def test_no_batch_norm_is_left_in_a_resnet_and_the_fusion():
    packed = pack(trained_model(**LITE))
    kinds = (nn.BatchNorm2d, BatchNorm2d)
    assert not any(isinstance(module, kinds) for module in packed.modules())


def test_relus_are_done_by_the_convolution_before_them_but_not_after_a_sum():
    packed = pack(trained_model(**LITE))
    block = packed.encoder.backbone["layer2"][0]
    assert block.conv1.activation == "relu"
    assert isinstance(block.act1, nn.Identity)
    assert block.conv2.activation == "none"
    assert isinstance(block.act2, nn.ReLU)
    assert packed.fusion.mix[0].activation == "relu"
    assert packed.fusion.bottleneck[0].conv3.activation == "none"


@pytest.mark.parametrize("mixer", MIXERS)
def test_it_can_be_pickled_after_use(mixer):
    packed = pack(trained_model(**LITE, mixer=mixer))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = packed(image).reconstructed
        found = pickle.loads(pickle.dumps(packed))(image).reconstructed
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_it_can_be_copied_after_use():
    packed = pack(trained_model(**LITE))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = packed(image).reconstructed
        found = copy.deepcopy(packed)(image).reconstructed
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)
