import pytest
import torch

from mambaad.ops.selective_scan.vectorised import _CHUNK, selective_scan_vectorised
from tests.ops.conftest import assert_close, cast, make_inputs, run, truth_of_size


@pytest.mark.parametrize(
    "sizes",
    [
        {"length": 1},
        {"length": _CHUNK - 1, "directions": 1},
        {"length": _CHUNK, "directions": 1},
        {"length": _CHUNK + 1, "directions": 1},
        {"length": 2 * _CHUNK + 3, "batch": 1},
        {"length": 6, "directions": 8, "states": 16, "rank": 5},
        {"length": 6, "batch": 0},
    ],
    ids=str,
)
def test_vectorised_scan_equals_the_reference(sizes):
    inputs = make_inputs(**sizes)
    exact = run(selective_scan_vectorised, cast(inputs, torch.float64))
    assert_close(exact, truth_of_size(**sizes), y=1e-13, gradients=1e-12)
    assert_close(run(selective_scan_vectorised, inputs), truth_of_size(**sizes))
