import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mambaad.errors import ConfigError
from mambaad.ops import native
from mambaad.ops.selective_scan import dispatch, operator
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.vectorised import selective_scan_vectorised
from tests.ops.conftest import (
    FLOATS,
    SCANS,
    Tensors,
    assert_close,
    assert_identical,
    cast,
    make_inputs,
    run,
    truth,
)


@pytest.mark.parametrize("scan", SCANS)
def test_map_without_positions_gives_one(scan):
    inputs = {n: t.requires_grad_(n == "u") for n, t in make_inputs(length=0).items()}
    y = scan(**inputs)
    assert y.shape == (2, 0, 5)


@pytest.fixture
def nothing_said_yet(monkeypatch):
    monkeypatch.setattr(dispatch, "_warned", set())


@pytest.fixture
def no_native_kernel(monkeypatch, nothing_said_yet):
    monkeypatch.setattr(native, "AVAILABLE", False)


@pytest.mark.usefixtures("no_native_kernel")
def test_without_the_kernel_the_scan_warns_once_and_runs_vectorised():
    inputs = make_inputs()
    with pytest.warns(RuntimeWarning, match="native kernel is not installed") as warnings:
        first, second = run(selective_scan, inputs), run(selective_scan, inputs)
    assert len(warnings) == 1
    assert_identical(first, run(selective_scan_vectorised, inputs))
    assert_identical(second, first)


@pytest.mark.usefixtures("no_native_kernel", "users_checks_only")
def test_compiled_code_warns_of_the_missing_kernel_too():
    inputs = make_inputs(length=3)
    compiled = torch.compile(selective_scan, backend="eager", fullgraph=True)
    with pytest.warns(RuntimeWarning, match="native kernel is not installed"):
        y = compiled(**inputs)
    assert torch.equal(y, selective_scan_vectorised(**inputs))


def on_a_gpu(inputs: Tensors) -> dict[str, torch.Tensor]:
    """Fake tensors (made within a FakeTensorMode): of a GPU and a shape, without either."""
    return {n: torch.empty(t.shape, dtype=t.dtype, device="cuda") for n, t in inputs.items()}


@pytest.mark.usefixtures("nothing_said_yet")
@pytest.mark.parametrize(
    ("wanted", "has_triton", "advice"),
    [("torch", True, "Unset MAMBAAD_KERNEL"), ("auto", False, "Install the release of Triton")],
)
def test_a_gpu_without_its_kernel_says_so_once(wanted, has_triton, advice, monkeypatch):
    monkeypatch.setattr(operator, "_wanted", wanted)
    monkeypatch.setattr(operator, "_has_triton", has_triton)
    with FakeTensorMode():
        inputs = on_a_gpu(make_inputs())
        with pytest.warns(RuntimeWarning, match=advice) as warnings:
            y = selective_scan(**inputs)
        selective_scan(**inputs)  # a second warning would be an error
    assert len(warnings) == 1
    assert "\n" not in str(warnings[0].message)
    assert (y.device.type, y.shape) == ("cuda", (2, 37, 5))


@pytest.mark.usefixtures("nothing_said_yet")
def test_a_gpu_with_its_kernel_uses_it_and_says_nothing(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(operator, "_wanted", "auto")
    calls = []

    def spy(*arguments):
        calls.append(arguments[0].device.type)
        return original(*arguments)

    original = operator.selective_scan
    monkeypatch.setattr(operator, "selective_scan", spy)
    with FakeTensorMode():
        y = selective_scan(**on_a_gpu(make_inputs()))
    assert calls == ["cuda"]
    assert (y.device.type, y.shape) == ("cuda", (2, 37, 5))


def test_float64_runs_vectorised_without_a_warning():
    inputs = cast(make_inputs(), torch.float64)
    assert_identical(run(selective_scan, inputs), run(selective_scan_vectorised, inputs))


@pytest.mark.usefixtures("no_native_kernel")
def test_devices_that_have_no_kernel_are_not_warned_of():
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
