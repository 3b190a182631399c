import pytest
import torch
from torch.nn import functional as F

from mambaad.ops import native
from mambaad.ops.instance_norm import instance_norm, instance_norm_silu_


@pytest.fixture(params=native.VARIANTS or (None,))
def variant(request, monkeypatch):
    monkeypatch.setattr(native, "variant", request.param)


SHAPES = [
    *((2, c, 5, 3) for c in (1, 3, 4, 7, 8, 15, 16, 17, 64, 65, 97)),
    (1, 128, 16, 16),
    (9, 5, 2, 2),
    (0, 4, 3, 3),
    (2, 4, 0, 3),
]


def truth(x):
    """In double precision, by PyTorch's own instance norm."""
    return F.silu(F.instance_norm(x.double())).float()


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_equals_norm_then_activation(shape, layout):
    x = (torch.randn(shape) * 3 + 5).to(memory_format=layout)
    expected = truth(x) if x.numel() else x.clone()
    torch.testing.assert_close(instance_norm_silu_(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not native.AVAILABLE, reason="installed without the kernel")
def test_the_kernel_runs_where_channels_are_last_in_memory(monkeypatch):
    shapes = []
    monkeypatch.setattr(native, "instance_norm_silu_", lambda x: shapes.append(tuple(x.shape)))
    x = torch.randn(2, 5, 4, 3)
    instance_norm_silu_(x.clone())
    assert shapes == []
    instance_norm_silu_(x.to(memory_format=torch.channels_last))
    assert shapes == [(2, 12, 5)]


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("shape", [(1, 33, 64, 65), (1, 64, 47, 47), (2, 65, 41, 40)], ids=str)
def test_threads_share_an_image(shape, threads, set_threads):
    """By positions, of which each thread's part has a mean and variance of its own."""
    x = torch.randn(shape) * 3 + torch.linspace(-9, 9, shape[2])[:, None]
    x = x.to(memory_format=torch.channels_last)
    set_threads(threads)
    torch.testing.assert_close(instance_norm_silu_(x.clone()), truth(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("variant")
def test_rounding_does_not_grow_with_the_map():
    x = (torch.randn(1, 3, 256, 300) + 30).to(memory_format=torch.channels_last)
    torch.testing.assert_close(instance_norm_silu_(x.clone()), truth(x), rtol=2e-5, atol=2e-5)


@pytest.mark.usefixtures("variant")
def test_extremes():
    """A constant channel and a single cell give zero; one outlier stays finite; NaN stays NaN."""
    x = torch.randn(1, 4, 8, 8).to(memory_format=torch.channels_last)
    x[0, 0] = 7.0
    x[0, 1, 3, 3] = -1e15
    x[0, 2, 0, 0] = float("nan")
    y = instance_norm_silu_(x.clone())
    assert torch.equal(y[0, 0], torch.zeros(8, 8))
    assert y[0, 1].isfinite().all()
    assert y[0, 2].isnan().all()
    assert y[0, 3].isfinite().all()
    assert torch.equal(instance_norm_silu_(torch.ones(2, 3, 1, 1)), torch.zeros(2, 3, 1, 1))


def test_norm_of_a_single_cell_is_zero():
    assert torch.equal(instance_norm(torch.ones(2, 3, 1, 1)), torch.zeros(2, 3, 1, 1))
