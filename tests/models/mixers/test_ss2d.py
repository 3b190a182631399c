"""The selective scan over a map."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from mambaad.models.mixers.ss2d import SS2D
from mambaad.models.released import load_released
from mambaad.ops.orders import SCAN_METHODS
from tests.conftest import fill
from tests.models.conftest import ss2d_shapes

STORED = [*((method, 8) for method in SCAN_METHODS), ("hilbert", 2), ("hilbert", 4)]


def reference_ss2d(method: str, directions: int) -> SS2D:
    module = SS2D(8, method, directions)
    load_released(module, fill(ss2d_shapes(8, directions)))
    return module


@torch.inference_mode()
@pytest.mark.parametrize(("method", "directions"), STORED)
def test_released_values(method, directions, golden):
    y = reference_ss2d(method, directions)(torch.tensor(golden["ss2d/x"]))
    expected = torch.tensor(golden[f"ss2d/{method}/{directions}/y"])
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-4)


def test_no_released_value_is_left_out(golden):
    stored = {key for key in golden if key.startswith("ss2d/") and key.endswith("/y")}
    assert stored == {f"ss2d/{method}/{directions}/y" for method, directions in STORED}


@torch.inference_mode()
def test_every_method_and_number_of_directions_gives_another_result():
    x = torch.randn(2, 4, 6, 8)
    results = {
        (method, directions): reference_ss2d(method, directions)(x)
        for method, directions in itertools.product(SCAN_METHODS, (1, 2, 4, 8))
    }
    for (a, y_a), (b, y_b) in itertools.combinations(results.items(), 2):
        assert y_a.isfinite().all()
        assert (y_a - y_b).abs().max() > 1e-3, (a, b)


@torch.inference_mode()
@pytest.mark.parametrize("method", SCAN_METHODS)
def test_single_and_double_precision_agree(method):
    module, x = reference_ss2d(method, 8), torch.randn(2, 5, 7, 8)
    single = module(x)
    double = module.double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_half_precision_around_the_scan():
    module, x = reference_ss2d("hilbert", 8), torch.randn(2, 5, 7, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(x)
    difference = (half.float() - module(x)).norm() / module(x).norm()
    assert 0 < difference < 0.03


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (7, 10)])
def test_any_size_of_map(size):
    x = torch.randn(2, *size, 8)
    y = reference_ss2d("hilbert", 8)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y[1:], reference_ss2d("hilbert", 8)(x[1:]))  # images are apart


def test_every_parameter_learns():
    module = reference_ss2d("hilbert", 8)
    module(torch.randn(2, 4, 4, 8)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_initialisation():
    channels, directions, rank = 40, 4, 3  # a rank that is rounded up
    module = SS2D(channels, "hilbert", directions)
    states = torch.arange(1.0, 17).log().expand(directions, 2 * channels, 16)
    torch.testing.assert_close(module.A_log.data, states)
    assert (module.skip == 1).all()
    dt = F.softplus(module.dt_bias)
    assert dt.min() >= 1e-3 * (1 - 1e-5)
    assert dt.max() <= 0.1 * (1 + 1e-5)
    assert dt.median().item() == pytest.approx(0.01, rel=0.3)  # log-uniform
    assert module.dt_weight.shape == (directions, 2 * channels, rank)
    assert module.dt_weight.abs().max() <= rank**-0.5
    assert module.dt_weight.std().item() == pytest.approx(rank**-0.5 / 3**0.5, rel=0.1)
    for linear in (module.in_proj, module.out_proj):
        assert linear.bias is None
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
