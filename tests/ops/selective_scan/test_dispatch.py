import itertools

import numpy as np
import pytest
import torch

from mambaad.errors import ConfigError
from mambaad.ops import native
from mambaad.ops.selective_scan.dispatch import _warn_once, selective_scan
from mambaad.ops.selective_scan.reference import selective_scan_reference
from mambaad.ops.selective_scan.vectorised import (
    _CHUNK,
    selective_scan_vectorised,
)
from tests.ops.conftest import (
    FLOATS,
    assert_close,
    assert_identical,
    cast,
    make_inputs,
    run,
    truth,
    truth_of_size,
)

SCANS = [selective_scan, selective_scan_reference, selective_scan_vectorised]


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


@pytest.mark.parametrize("scan", SCANS)
def test_map_without_positions_gives_one(scan):
    inputs = {n: t.requires_grad_(n == "u") for n, t in make_inputs(length=0).items()}
    y = scan(**inputs)
    assert y.shape == (2, 0, 5)


@pytest.fixture
def no_native_kernel(monkeypatch):
    monkeypatch.setattr(native, "AVAILABLE", False)
    _warn_once.cache_clear()
    yield
    _warn_once.cache_clear()


@pytest.mark.usefixtures("no_native_kernel")
def test_without_the_kernel_the_scan_warns_once_and_runs_vectorised():
    inputs = make_inputs()
    with pytest.warns(RuntimeWarning, match="native kernel is not installed") as warnings:
        first, second = run(selective_scan, inputs), run(selective_scan, inputs)
    assert len(warnings) == 1
    assert_identical(first, run(selective_scan_vectorised, inputs))
    assert_identical(second, first)


def test_float64_runs_vectorised_without_a_warning():
    inputs = cast(make_inputs(), torch.float64)
    assert_identical(run(selective_scan, inputs), run(selective_scan_vectorised, inputs))


@pytest.mark.usefixtures("no_native_kernel")
def test_other_devices_miss_no_kernel():
    # The meta device computes shapes only, and is everywhere.
    y = selective_scan(**{name: t.to("meta") for name, t in make_inputs().items()})
    assert (y.device.type, y.shape) == ("meta", (2, 37, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    half = cast(make_inputs(), dtype)
    found = run(selective_scan, half)
    assert found["y"].dtype == torch.float32
    assert all(found[name].dtype == dtype for name in FLOATS)
    widened = run(selective_scan, cast(half, torch.float32))
    assert_identical(found, {"y": widened["y"], **{n: widened[n].to(dtype) for n in FLOATS}})
    assert_close(widened, truth(half))


def test_half_precision_activations_with_float32_parameters():
    # What autocast leaves behind.
    inputs = make_inputs()
    mixed = {**inputs, "u": inputs["u"].half(), "proj": inputs["proj"].half()}
    y = selective_scan(**mixed)
    assert y.dtype == torch.float32
    assert torch.equal(y, selective_scan(**cast(mixed, torch.float32)))


@pytest.mark.parametrize("scan", SCANS)
def test_order_may_be_of_32_or_64_bits(scan):
    inputs = make_inputs()
    assert inputs["order"].dtype == torch.int64
    as_int32 = run(scan, {**inputs, "order": inputs["order"].int()})
    assert_identical(as_int32, run(scan, inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FLOATS)
def test_gradient_for_one_argument_alone(name, dtype):
    inputs = cast(make_inputs(), dtype)
    everything = {n: t.clone().requires_grad_(n in FLOATS) for n, t in inputs.items()}
    selective_scan(**everything).square().sum().backward()
    alone = inputs[name].clone().requires_grad_()
    selective_scan(**{**inputs, name: alone}).square().sum().backward()
    # Not bitwise: torch may sum up in another order where it computes less.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    expected = everything[name].grad
    assert (alone.grad - expected).abs().max() <= tolerance * expected.abs().max()


def test_without_gradients_the_result_is_the_same_and_needs_none():
    inputs = make_inputs()
    expected = selective_scan(**inputs)
    assert not expected.requires_grad
    inputs = {n: t.clone().requires_grad_(n in FLOATS) for n, t in inputs.items()}
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = selective_scan(**inputs)
        assert not y.requires_grad
        assert torch.equal(y, expected)


@pytest.mark.usefixtures("users_checks_only")
@pytest.mark.parametrize(
    ("name", "part", "blamed"),
    [
        # The map is what the others are compared with, so the first of them is named.
        ("u", np.s_[:-1], "proj"),
        ("u", np.s_[:, 1:], "proj"),
        ("u", np.s_[..., 1:], "dt_weight"),
        ("proj", np.s_[:1], "proj"),
        ("proj", np.s_[:, 1:], "proj"),
        ("proj", np.s_[..., 1:], "proj"),
        ("proj", np.s_[0], "proj"),
        ("dt_weight", np.s_[:, 1:], "dt_weight"),
        ("dt_weight", np.s_[..., 1:], "proj"),  # or is it one rank too many there?
        ("dt_bias", np.s_[1:], "dt_bias"),
        ("dt_bias", np.s_[:, 1:], "dt_bias"),
        ("dt_bias", np.s_[0], "dt_bias"),
        ("A", np.s_[1:], "A"),
        ("A", np.s_[:, 1:], "A"),
        ("A", np.s_[..., 1:], "proj"),
        ("skip", np.s_[1:], "skip"),
        ("skip", np.s_[:, 1:], "skip"),
        ("skip", np.s_[0], "skip"),
        ("order", np.s_[1:], "order"),
        ("order", np.s_[:, 1:], "order"),
        ("order", np.s_[0], "order"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused_in_one_line(name, part, blamed):
    inputs = make_inputs()
    inputs[name] = inputs[name][part]
    with pytest.raises(ConfigError, match=f"^selective_scan: {blamed} has shape") as error:
        selective_scan(**inputs)
    assert str(tuple(inputs[blamed].shape)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("users_checks_only")
@pytest.mark.parametrize("name", ["u", "dt_weight", "A"])
def test_tensors_with_a_dimension_too_few_are_refused(name):
    inputs = make_inputs()
    inputs[name] = inputs[name][0]
    with pytest.raises(ConfigError, match=name):
        selective_scan(**inputs)
