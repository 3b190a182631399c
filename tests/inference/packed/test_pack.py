import copy
import pickle

import pytest
import torch
from torch import nn

from mambaad.errors import ConfigError
from mambaad.inference.packed import pack as inference
from mambaad.inference.packed.pack import check_precision, prepare
from mambaad.models.build import build_model
from mambaad.models.parallel import BatchNorm2d

LITE = {"depths": (1, 1, 1, 1), "directions": 4, "states": 8, "expand": 1, "kernels": (5,)}
SIZES = {
    "published decoder": {},
    "lite": LITE,
    "basic Mamba": {"depths": (2, 2, 2, 2), "scan": "sweep", "directions": 1, "kernels": ()},
    "one direction, odd kernels": {"depths": (1, 2, 1, 1), "directions": 1, "kernels": (3, 5, 7)},
}


def trained_model(encoder="resnet18", **settings):
    """A model whose batch norms are no identities."""
    torch.manual_seed(0)
    model = build_model(encoder, "random", **settings).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model


@torch.inference_mode()
def largest_difference(model, prepared, image):
    """Over all maps, each relative to its largest value."""
    found, expected = prepared(image), model(image)
    return max(
        float((a - b).abs().max() / b.abs().max())
        for maps, others in zip(found, expected, strict=True)
        for a, b in zip(maps, others, strict=True)
    )


@pytest.fixture(params=[True, False], ids=["packed", "without packed weights"])
def packed(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(inference, "_can_pack", lambda dtype: False)


@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES)
def test_float32_computes_what_the_model_does(settings):
    model = trained_model(**settings)
    prepared = prepare(copy.deepcopy(model))
    # Another size and batch afterwards: what was laid out for the first must serve it too.
    for shape in ((1, 3, 160, 128), (2, 3, 128, 192), (1, 3, 160, 128)):
        assert largest_difference(model, prepared, torch.randn(shape)) < 2e-5


@pytest.mark.usefixtures("packed")
def test_bfloat16_is_close_and_gives_float32():
    model = trained_model(**LITE)
    prepared = prepare(copy.deepcopy(model), "bfloat16")
    image = torch.randn(1, 3, 64, 64)
    assert 1e-4 < largest_difference(model, prepared, image) < 0.1
    maps = prepared(image)
    assert all(t.dtype == torch.float32 for t in maps.features + maps.reconstructed)


@pytest.mark.parametrize(
    "encoder", ["resnet18", "resnet50", "tf_efficientnet_b0", "resnetv2_50", "davit_tiny"]
)
def test_any_encoder_computes_what_it_did(encoder):
    model = trained_model(encoder, **LITE)
    prepared = prepare(copy.deepcopy(model))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for found, expected in zip(prepared.encoder(image), model.encoder(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_no_batch_norm_is_left_in_a_resnet_and_the_fusion():
    prepared = prepare(trained_model(**LITE))
    kinds = (nn.BatchNorm2d, BatchNorm2d)
    assert not any(isinstance(module, kinds) for module in prepared.modules())


class Misleading(nn.Module):
    """An encoder whose batch norm follows its convolution in name only."""

    def __init__(self):
        super().__init__()
        self.norm_first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(0.7)

    def forward(self, x):
        return [self.conv(self.norm(x))]


def test_an_encoder_that_folding_would_change_is_left_as_it_is():
    encoder = Misleading().eval()
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = encoder(image)[0]
        inference.prepare_encoder(encoder, torch.float32)
        assert isinstance(encoder.norm, nn.BatchNorm2d)
        torch.testing.assert_close(encoder(image)[0], expected)


def test_relus_are_done_by_the_convolution_before_them_but_not_after_a_sum():
    prepared = prepare(trained_model(**LITE))
    block = prepared.encoder.backbone["layer2"][0]
    assert block.conv1.activation == "relu"
    assert isinstance(block.act1, nn.Identity)
    assert block.conv2.activation == "none"
    assert isinstance(block.act2, nn.ReLU)
    assert prepared.fusion.mix[0].activation == "relu"
    assert prepared.fusion.bottleneck[0].conv3.activation == "none"


def test_relus_after_sums_stay_where_the_weights_of_a_block_would_hide_them():
    """A fresh ResNet's blocks add nothing to what comes in, which is not negative."""
    prepared = prepare(build_model("resnet18", "random", **LITE).eval())
    for name in ("layer1", "layer2", "layer3"):
        for block in prepared.encoder.backbone[name]:
            assert block.conv1.activation == "relu"
            assert isinstance(block.act2, nn.ReLU)


def test_it_can_be_pickled_after_use():
    prepared = prepare(trained_model(**LITE))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = prepared(image).reconstructed
        found = pickle.loads(pickle.dumps(prepared))(image).reconstructed
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_it_can_be_copied_after_use():
    prepared = prepare(trained_model(**LITE))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = prepared(image).reconstructed
        found = copy.deepcopy(prepared)(image).reconstructed
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="--precision: expected one of float32, bfloat16"):
        check_precision("float16")
