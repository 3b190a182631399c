"""What VSSD and SSD share: projections, convolution, norm and gate around their core."""

import math

import pytest
import torch
from torch.nn import functional as F

from mambaad.models.mixers.duality import count_heads
from mambaad.models.mixers.ssd import SSD
from mambaad.models.mixers.vssd import VSSD

BLOCKS = [VSSD, SSD]


@pytest.mark.parametrize(
    ("inner", "heads"),
    [(8, 1), (64, 1), (96, 2), (128, 2), (1024, 16), (130, 5), (131, 131)],
)
def test_heads_are_as_wide_as_divides_but_at_most_64(inner, heads):
    assert count_heads(inner) == heads
    assert max(p for p in range(1, 65) if inner % p == 0) == inner // heads


@torch.inference_mode()
@pytest.mark.parametrize("block", BLOCKS)
def test_what_is_around_the_core(block, monkeypatch):
    """The block written out over cells and channels, with a core that shows all it is given."""
    module = block(8, states=3).double()
    inner, heads = 16, module.heads
    x = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    seen = {}

    def core(x, B, C, dt, shape):
        seen.update(x=x, B=B, C=C, dt=dt, shape=shape)
        return x + B.sum(2, keepdim=True) * C[..., :1]

    monkeypatch.setattr(module, "mix", core)
    y = module(x)

    projected = torch.einsum("bijc,nc->bijn", x, module.in_proj.weight)
    z, xBC = projected[..., :inner], projected[..., inner : 2 * inner + 6]
    filters = torch.cat([module.conv_x.weight, module.conv_BC.weight])[:, 0]
    padded = F.pad(xBC, (0, 0, 1, 1, 1, 1))
    xBC = torch.cat([module.conv_x.bias, module.conv_BC.bias]).expand_as(xBC)
    for i in range(3):
        for j in range(3):
            xBC = xBC + padded[:, i : i + 4, j : j + 5] * filters[:, i, j]
    xBC = (xBC / (1 + (-xBC).exp())).reshape(2, 20, -1)
    assert seen["shape"] == x.shape
    assert seen["dt"].shape == (2, 20, heads * (1 if block is VSSD else 2))
    torch.testing.assert_close(seen["dt"], projected[..., 2 * inner + 6 :].flatten(1, 2))
    for found, expected in zip(
        (seen["x"], seen["B"], seen["C"]),
        (xBC[..., :inner], xBC[..., inner : inner + 3], xBC[..., inner + 3 :]),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    mixed = seen["x"] + seen["B"].sum(2, keepdim=True) * seen["C"][..., :1]
    centred = mixed - mixed.mean(2, keepdim=True)
    normal = centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()
    gated = normal.view(2, 4, 5, inner) * z / (1 + (-z).exp())
    torch.testing.assert_close(y, gated @ module.out_proj.weight.T)


@torch.inference_mode()
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (7, 10), (9, 9)])
def test_any_size_of_map(block, size):
    module, x = block(8), torch.randn(2, *size, 8)
    y = module(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y[1:], module(x[1:]))  # images are apart
    assert module(x[:0]).shape == (0, *size, 8)


@torch.inference_mode()
@pytest.mark.parametrize("block", BLOCKS)
def test_single_and_double_precision_agree(block):
    module, x = block(24), torch.randn(2, 9, 15, 24)
    single = module(x)
    double = module.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block", BLOCKS)
def test_half_precision_around_the_core(block, dtype):
    module, x = block(8), torch.randn(2, 5, 13, 8)
    with torch.autocast("cpu", dtype):
        half = module(x)
    assert half.dtype == dtype
    exact = module(x)
    assert 0 < (half.float() - exact).norm() / exact.norm() < 0.01
    half.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@torch.inference_mode()
@pytest.mark.parametrize("block", BLOCKS)
def test_half_precision_of_the_largest_map(block):
    """As many cells as 1024 x 1024 pixels have at stride 4, and tokens far from the mean."""
    module = block(8, states=4, expand=1)
    x = torch.randn(1, 256, 256, 8) + 3
    with torch.autocast("cpu", torch.float16):
        half = module(x)
    exact = module(x)
    assert (half.float() - exact).norm() / exact.norm() < 0.01


@pytest.mark.parametrize("block", BLOCKS)
def test_every_parameter_learns(block):
    module = block(8)
    module(torch.randn(2, 4, 4, 8)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("block", BLOCKS)
def test_initialisation(block):
    channels, inner = 64, 128
    module = block(channels, states=64)
    weight = module.in_proj.weight
    assert weight[: 2 * inner].std().item() == pytest.approx(0.02, rel=0.1)
    assert module.out_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert weight[2 * inner :].abs().max() <= channels**-0.5
    bound = channels**-0.5 / math.sqrt(3)
    assert weight[2 * inner :].std().item() == pytest.approx(bound, rel=0.1)
    assert (module.skip == 1).all()
    assert module.in_proj.bias is module.out_proj.bias is None
