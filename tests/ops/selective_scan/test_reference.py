import itertools

import numpy as np
import pytest
import torch

from mambaad.ops.selective_scan.reference import selective_scan_reference
from tests.ops.conftest import SCANS, cast, make_inputs


def scan_written_out(u, proj, dt_weight, dt_bias, A, skip, order):
    """The equations of the docstring, one number or one state vector at a time."""
    directions, _, states = A.shape
    rank = dt_weight.shape[2]
    y = np.zeros(u.shape)
    for b, k, d in itertools.product(range(len(u)), range(directions), range(u.shape[2])):
        h = np.zeros(states)
        for position in order[k]:
            row = np.split(proj[b, position], directions)[k]
            low, B, C = row[:rank], row[rank : rank + states], row[rank + states :]
            dt = np.log(1 + np.exp(dt_weight[k, d] @ low + dt_bias[k, d]))
            h = np.exp(dt * A[k, d]) * h + dt * u[b, position, d] * B
            y[b, position, d] += C @ h + skip[k, d] * u[b, position, d]
    return y


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize(
    "sizes",
    [
        {"batch": 1, "length": 1, "channels": 1, "directions": 1, "states": 1, "rank": 1},
        {"batch": 2, "length": 7, "channels": 3, "directions": 2, "states": 4, "rank": 1},
        {"batch": 1, "length": 12, "channels": 2, "directions": 4, "states": 1, "rank": 3},
        {"batch": 2, "length": 5, "channels": 3, "directions": 8, "states": 2, "rank": 2},
    ],
)
def test_scan_computes_the_equations(scan, dtype, tolerance, sizes):
    inputs = make_inputs(**sizes)
    expected = scan_written_out(**{n: t.numpy() for n, t in cast(inputs, torch.float64).items()})
    y = scan(**cast(inputs, dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=tolerance * abs(expected).max())


def test_gradients_of_the_reference_are_its_derivatives():
    inputs = cast(
        make_inputs(batch=2, length=4, channels=2, directions=2, states=2, rank=2), torch.float64
    )
    order = inputs.pop("order")
    leaves = [t.requires_grad_() for t in inputs.values()]
    assert torch.autograd.gradcheck(lambda *x: selective_scan_reference(*x, order), leaves)
