"""Inputs of the selective scan, the true results for them, and how close others must come."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import pytest
import torch

from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.reference import selective_scan_reference
from mambaad.ops.selective_scan.vectorised import selective_scan_vectorised

Tensors = Mapping[str, torch.Tensor]

SCANS = [selective_scan, selective_scan_reference, selective_scan_vectorised]
"""What computes the scan on a CPU."""

FLOATS = ("u", "proj", "dt_weight", "dt_bias", "A", "skip")


def make_inputs(
    *,
    batch: int = 2,
    length: int = 37,
    channels: int = 5,
    directions: int = 2,
    states: int = 3,
    rank: int = 2,
) -> dict[str, torch.Tensor]:
    """The arguments of the scan, the same for the same sizes: steps and decays fast and slow."""
    random = torch.Generator().manual_seed(11)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float32)

    return {
        "u": normal(batch, length, channels),
        "proj": normal(batch, length, directions * (rank + 2 * states)),
        "dt_weight": normal(directions, channels, rank) / rank**0.5,
        "dt_bias": normal(directions, channels) - 2,
        "A": -torch.exp(1.5 * normal(directions, channels, states)),
        "skip": 1 + normal(directions, channels),
        "order": torch.stack([torch.randperm(length, generator=random) for _ in range(directions)]),
    }


def cast(inputs: Tensors, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: t.to(dtype) if name in FLOATS else t for name, t in inputs.items()}


def run(scan: Callable[..., torch.Tensor], inputs: Tensors) -> dict[str, torch.Tensor]:
    """``y`` and the gradients of all six floating tensors, for a random gradient of y."""
    leaves = {n: t.detach().requires_grad_(n in FLOATS) for n, t in inputs.items()}
    y = scan(**leaves)
    random = torch.Generator().manual_seed(12)
    grad_y = torch.randn(y.shape, generator=random, dtype=torch.float32)
    grads = torch.autograd.grad(y, [leaves[name] for name in FLOATS], grad_y.to(y.dtype))
    return {"y": y.detach(), **dict(zip(FLOATS, grads, strict=True))}


def truth(inputs: Tensors) -> dict[str, torch.Tensor]:
    """What :func:`run` gives for the reference in float64."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thirty times as fast as two on busy cores, for its small steps
    try:
        return run(selective_scan_reference, cast(inputs, torch.float64))
    finally:
        torch.set_num_threads(threads)


@functools.cache
def truth_of_size(**sizes: int) -> dict[str, torch.Tensor]:
    return truth(make_inputs(**sizes))


def assert_close(
    found: Tensors, expected: Tensors, *, y: float = 1e-5, gradients: float = 1e-4
) -> None:
    """Errors relative to each tensor's largest value."""
    assert found.keys() == expected.keys()
    for name, true in expected.items():
        assert found[name].shape == true.shape, name
        if true.numel():
            scale = true.abs().max()
            # What underflows in float32 may be anything next to nothing.
            limit = (y if name == "y" else gradients) * scale if scale > 1e-35 else 1e-20
            assert (found[name].double() - true).abs().max() <= limit, name


def assert_identical(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def sizes_to_test(chunk: int) -> list[dict[str, int]]:
    """Shapes around every limit of a kernel that goes through the sequence in chunks."""
    return [
        *({"length": n} for n in (1, 2, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk + 1)),
        *({"batch": n} for n in (1, 3, 8, 9)),
        *({"states": n, "length": chunk + 1, "directions": 1} for n in range(1, 33)),
        # With as many blocks of 4, 8 or 16 channels as there are threads, with fewer and more.
        *(
            {"channels": n, "length": 9, "batch": 1}
            for n in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50, 64, 97)
        ),
        *({"rank": n, "length": 9, "channels": 18} for n in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33)),
        *({"directions": n, "length": 12} for n in (1, 4, 8)),
        {"batch": 3, "length": chunk + 5, "channels": 35, "states": 7, "rank": 5},
        {"batch": 0},
    ]


def sizes_text(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items())


# Each value below fills its whole tensor.
EXTREMES = [
    pytest.param({"dt_bias": 30.0, "A": -50.0}, id="the state is forgotten at once"),
    pytest.param({"dt_bias": 1e4, "A": -1e6}, id="more than at once"),
    pytest.param({"dt_bias": 1e7, "A": -1e30}, id="beyond any exponent"),
    pytest.param({"A": 0.0}, id="the state is never forgotten"),
    pytest.param({"A": -1e-7}, id="decays next to 1"),
    pytest.param({"dt_weight": 0.0, "dt_bias": 2.0, "A": -7.0}, id="decays next to 0"),
    pytest.param({"dt_bias": -60.0, "skip": 0.0}, id="steps vanish"),
    pytest.param({"dt_bias": -1e4}, id="steps underflow"),
    pytest.param({"dt_bias": -3e38}, id="the most negative bias"),
    pytest.param({"dt_bias": 300.0, "A": -1e-3}, id="softplus is linear in the bias"),
    pytest.param({"proj": 50.0, "dt_weight": 1.0, "A": -1e-2}, id="and in low"),
    pytest.param({"proj": -50.0, "dt_weight": 1.0}, id="very negative low"),
    pytest.param({"u": 1e15}, id="huge map"),
    pytest.param({"u": 0.0}, id="empty map"),
]


@pytest.fixture
def set_threads():
    """torch.set_num_threads, undone afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
