"""The state-space duality of Mamba-2, against its recurrence."""

import pytest
import torch
from torch.nn import functional as F

from mambaad.models.mixers import ssd
from mambaad.models.mixers.ssd import SSD, both_ways
from mambaad.ops.orders import scan_order


def recurrence(x, B, C, dt, dt_bias, A_log, skip, order):
    """The equations step by step: along the order, and against it."""
    batch, length, inner = x.shape
    heads = len(skip)
    x = x.view(batch, length, heads, inner // heads)
    dt = F.softplus(dt.view(batch, length, 2, heads) + dt_bias)
    results = []
    for k, cells in enumerate((order.tolist(), order.tolist()[::-1])):
        h = x.new_zeros(batch, heads, B.shape[2], x.shape[3])
        y = {}
        for t in cells:
            decay = torch.exp(-dt[:, t, k] * A_log[k].exp())
            added = torch.einsum("bh,bn,bhp->bhnp", dt[:, t, k], B[:, t], x[:, t])
            h = decay[:, :, None, None] * h + added
            y[t] = torch.einsum("bhnp,bn->bhp", h, C[:, t])
        results.append(torch.stack([y[t] for t in range(length)], dim=1))
    return (sum(results) + skip[:, None] * x).flatten(2)


def tokens(batch, length, heads=2, size=3, states=4):
    shapes = (
        *((batch, length, heads * size), (batch, length, states), (batch, length, states)),
        *((batch, length, 2 * heads), (2, heads), (2, heads), (heads,)),
    )
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    return given, torch.randperm(length, dtype=torch.int32)


@pytest.mark.parametrize(
    ("length", "chunk"),
    [
        *((1, 64), (63, 64), (64, 64), (65, 64), (130, 64)),  # cells: less than a chunk, and more
        *((12, 4), (16, 4), (17, 4), (23, 4), (67, 4)),  # and chunks of chunks, to the third time
    ],
)
def test_products_are_the_recurrence_and_so_are_their_gradients(length, chunk, monkeypatch):
    monkeypatch.setattr(ssd, "CHUNK", chunk)
    given, order = tokens(2 if chunk == 4 else 1, length)
    found, expected = both_ways(*given, order), recurrence(*given, order)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    gradients = torch.autograd.grad(found, given, towards)
    for a, b in zip(gradients, torch.autograd.grad(expected, given, towards), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_finite_differences(monkeypatch):
    monkeypatch.setattr(ssd, "CHUNK", 2)
    given, order = tokens(1, 5, heads=1, size=2, states=2)
    assert torch.autograd.gradcheck(lambda *given: both_ways(*given, order), given)


@pytest.mark.parametrize("step", [-200.0, 50.0])
def test_extreme_time_steps_have_finite_gradients(step):
    """Softplus gives 0, or decays that forget everything at once."""
    given, order = tokens(1, 70)
    single = [t.detach().float().requires_grad_() for t in given]
    with torch.no_grad():
        single[3][:, ::2] = step
    both_ways(*single, order).square().sum().backward()
    assert all(t.grad.isfinite().all() for t in single)
    exact = recurrence(*(t.detach().double() for t in single), order)
    torch.testing.assert_close(both_ways(*single, order).double(), exact, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("method", ["hilbert", "sweep"])
def test_the_block_scans_in_the_order_of_its_method(method, monkeypatch):
    module = SSD(8, method)
    seen = []
    monkeypatch.setattr(ssd, "both_ways", lambda *given: seen.append(given[-1]) or given[0])
    module(torch.randn(1, 5, 6, 8))
    assert seen[0].tolist() == scan_order(method, 5, 6).tolist()


def test_initialisation():
    module = SSD(512)
    assert module.A_log.shape == module.dt_bias.shape == (2, 16)
    assert 1 <= module.A_log.exp().min() < 4
    assert 13 < module.A_log.exp().max() <= 16 * (1 + 1e-5)
    dt = F.softplus(module.dt_bias)
    assert dt.min() >= 1e-3 * (1 - 1e-4)
    assert dt.max() <= 0.1 * (1 + 1e-4)
    assert dt.median().item() == pytest.approx(0.01, rel=0.7)  # log-uniform
