"""The fusion of the encoder's maps."""

import math

import pytest
import torch
from torch import nn

from mambaad.models.fusion import Fusion, GridFusion
from mambaad.models.parallel import BatchNorm2d
from tests.models.conftest import reference_maps


@torch.inference_mode()
def test_released_values(released_model, golden):
    fused = released_model.fusion(reference_maps())
    torch.testing.assert_close(fused, torch.tensor(golden["net/fused"]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (7, 10)])
def test_result_has_stride_32_and_twice_the_channels(height, width):
    maps = [torch.randn(2, c, s * height, s * width) for c, s in ((4, 8), (6, 4), (10, 2))]
    assert Fusion((4, 6, 10))(maps).shape == (2, 20, height, width)


def test_every_statistic_is_taken_over_all_processes():
    norms = [m for m in Fusion((4, 6, 10)).modules() if isinstance(m, nn.BatchNorm2d)]
    # 5 in front, 3 in each of 3 bottleneck blocks, 1 in the shortcut
    assert len(norms) == 15
    assert all(type(norm) is BatchNorm2d for norm in norms)


def test_initialisation():
    fusion = Fusion((16, 32, 64))
    for conv in (m for m in fusion.modules() if isinstance(m, nn.Conv2d)):
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.15)


@torch.inference_mode()
def test_maps_on_one_grid_are_fused_by_an_mlp_of_their_mean():
    fusion = GridFusion(6, 4)
    nn.init.uniform_(fusion.norm.weight)
    nn.init.uniform_(fusion.norm.bias)
    maps = [torch.randn(2, 6, 3, 5) for _ in range(3)]
    fused = fusion(maps)
    assert fused.shape == (2, 4, 3, 5)
    cell = (maps[0] + maps[1] + maps[2])[1, :, 2, 4].double() / 3
    centred = cell - cell.mean()
    x = centred / (centred.square().mean() + 1e-5).sqrt()
    x = x * fusion.norm.weight + fusion.norm.bias
    x = fusion.widen.weight[:, :, 0, 0].double() @ x.double() + fusion.widen.bias
    x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    x = fusion.narrow.weight[:, :, 0, 0].double() @ x + fusion.narrow.bias
    torch.testing.assert_close(fused[1, :, 2, 4].double(), x, rtol=1e-4, atol=1e-6)
