"""Any encoder computes what it did, and as much of it as possible is packed."""

import copy

import pytest
import torch
from torch import nn

from mambaad.inference.packed.convolution import PackedConv
from mambaad.inference.packed.encoder import pack_encoder
from mambaad.models.encoder import Encoder
from tests.inference.packed.conftest import as_if_trained


@pytest.mark.parametrize(
    "encoder", ["resnet18", "resnet50", "tf_efficientnet_b0", "resnetv2_50", "davit_tiny"]
)
def test_any_encoder_computes_what_it_did(encoder):
    torch.manual_seed(0)
    plain = as_if_trained(Encoder(encoder, "random"))
    packed = copy.deepcopy(plain)
    pack_encoder(packed, torch.float32)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for found, expected in zip(packed(image), plain(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"])
def test_a_transformers_only_convolution_is_packed(name):
    torch.manual_seed(0)
    plain = Encoder(name, "random", groups=[[0], [1]], recentre=True)
    packed = copy.deepcopy(plain)
    pack_encoder(packed, torch.float32)
    assert isinstance(packed.backbone.model.patch_embed.proj, PackedConv)
    image = torch.randn(2, 3, 2 * plain.multiple, 5 * plain.multiple)
    with torch.inference_mode():
        for found, expected in zip(packed(image), plain(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


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
        pack_encoder(encoder, torch.float32)
        assert isinstance(encoder.norm, nn.BatchNorm2d)
        torch.testing.assert_close(encoder(image)[0], expected)


def test_relus_after_sums_stay_where_the_weights_of_a_block_would_hide_them():
    """A fresh ResNet's blocks add nothing to what comes in, which is not negative."""
    encoder = Encoder("resnet18", "random")
    pack_encoder(encoder, torch.float32)
    for name in ("layer1", "layer2", "layer3"):
        for block in encoder.backbone[name]:
            assert block.conv1.activation == "relu"
            assert isinstance(block.act2, nn.ReLU)
