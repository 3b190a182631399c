"""The non-causal state-space duality: all cells read one state."""

import pytest
import torch
from torch.nn import functional as F

from mambaad.models.mixers.vssd import VSSD, non_causal


def double_sum(x, B, C, dt, dt_bias, skip):
    """The equations cell by cell: what cell s adds to cell t of a head, over all pairs."""
    batch, length, inner = x.shape
    size = inner // len(skip)
    y = torch.zeros_like(x)
    for b in range(batch):
        for h in range(len(skip)):
            head = slice(h * size, (h + 1) * size)
            m = [F.softplus(dt[b, s, h] + dt_bias[h]) for s in range(length)]
            for t in range(length):
                read = skip[h] * x[b, t, head]
                for s in range(length):
                    read = read + m[s] / sum(m) * (C[b, t] @ B[b, s]) * x[b, s, head]
                y[b, t, head] = read
    return y


def tokens(batch, length, heads, size, states):
    shapes = (
        *((batch, length, heads * size), (batch, length, states), (batch, length, states)),
        *((batch, length, heads), (heads,), (heads,)),
    )
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("shape", [(2, 7, 2, 3, 4), (1, 1, 1, 2, 1), (1, 5, 3, 1, 2)])
def test_two_products_are_the_double_sum_and_so_are_their_gradients(shape):
    given = tokens(*shape)
    found, expected = non_causal(*given), double_sum(*given)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(found)
    gradients = torch.autograd.grad(found, given, towards)
    for a, b in zip(gradients, torch.autograd.grad(expected, given, towards), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_are_finite_differences():
    assert torch.autograd.gradcheck(non_causal, tokens(1, 4, 2, 2, 3))


@torch.inference_mode()
def test_the_order_of_the_cells_does_not_matter():
    x, B, C, dt, *weights = tokens(1, 9, 2, 3, 4)
    order = torch.randperm(9)
    moved = non_causal(*(t[:, order] for t in (x, B, C, dt)), *weights)
    torch.testing.assert_close(moved, non_causal(x, B, C, dt, *weights)[:, order])


@torch.inference_mode()
def test_a_cell_of_no_weight_is_read_by_no_other():
    given = tokens(1, 6, 1, 3, 2)
    before = non_causal(*given)
    given[3][0, 2] = -1e4
    without = non_causal(*given)
    given[0][0, 2] += 100
    after = non_causal(*given)
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after[:, others], without[:, others])
    assert (before[:, others] - without[:, others]).abs().max() > 1e-3


@torch.inference_mode()
def test_a_map_repeated_has_the_same_state():
    """The state is a mean: what is learnt at one size holds at another."""
    x, B, C, dt, *weights = tokens(1, 6, 2, 3, 4)
    twice = non_causal(*(torch.cat([t, t], dim=1) for t in (x, B, C, dt)), *weights)
    torch.testing.assert_close(twice[:, :6], non_causal(x, B, C, dt, *weights))


def test_time_steps_start_without_a_bias():
    module = VSSD(64)
    assert module.heads == 2
    assert (module.dt_bias == 0).all()
    assert "A_log" not in dict(module.named_parameters())  # it would cancel
