"""The binding refuses whatever would read or write outside an array."""

import pytest
import torch

from mambaad.ops import native
from tests.ops.conftest import FLOATS, make_inputs

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="installed without the kernel")

FORWARD = (*FLOATS, "order", "y", "carry")
BACKWARD = (*FLOATS, "order", "carry", "grad_y", *(f"grad_{name}" for name in FLOATS))


def arrays() -> dict[str, torch.Tensor]:
    """Every array of both functions, in the right shape."""
    inputs = make_inputs(length=9)
    inputs["order"] = inputs["order"].int()
    outputs = {name: torch.zeros_like(inputs["u"]) for name in ("y", "grad_y")}
    carry = torch.zeros(native.carry_shape(inputs["u"], inputs["A"]))
    gradients = {f"grad_{name}": torch.zeros_like(inputs[name]) for name in FLOATS}
    return {**inputs, **outputs, "carry": carry, **gradients}


def call(function, names, given, threads=1):
    getattr(native._native, function)(native.variant, threads, *(given[name] for name in names))


EVERY_ARRAY = [
    *(("forward", FORWARD, name) for name in FORWARD),
    *(("backward", BACKWARD, name) for name in BACKWARD),
]


@pytest.mark.parametrize(("function", "names", "name"), EVERY_ARRAY)
def test_every_side_of_every_array_is_checked(function, names, name):
    for axis in range(arrays()[name].dim()):
        for change in (-1, 1):
            given = arrays()
            shape = list(given[name].shape)
            shape[axis] += change
            if name == "carry" and function == "forward" and shape[2] == 0:
                continue  # no chunks: no states are kept
            given[name] = torch.zeros(shape, dtype=given[name].dtype)
            with pytest.raises(ValueError, match="does not have the expected shape"):
                call(function, names, given)


@pytest.mark.parametrize(("function", "names", "name"), EVERY_ARRAY)
def test_no_array_is_converted(function, names, name):
    given = arrays()
    given[name] = given[name].double()
    with pytest.raises(TypeError, match="incompatible function arguments"):
        call(function, names, given)
    given[name] = given[name].to(torch.int32 if name == "order" else torch.float32)[..., ::2]
    with pytest.raises(TypeError, match="incompatible function arguments"):
        call(function, names, given)


@pytest.mark.parametrize(("function", "names"), [("forward", FORWARD), ("backward", BACKWARD)])
def test_there_is_at_least_one_thread(function, names):
    with pytest.raises(ValueError, match="threads must be at least 1"):
        call(function, names, arrays(), threads=0)


def test_instance_norm_has_at_least_one_thread():
    with pytest.raises(ValueError, match="threads must be at least 1"):
        native._native.instance_norm_silu(native.variant, 0, torch.zeros(1, 4, 3))


@pytest.mark.parametrize("position", [-1, 9])
@pytest.mark.parametrize(("function", "names"), [("forward", FORWARD), ("backward", BACKWARD)])
def test_order_cannot_reach_outside_the_map(function, names, position):
    given = arrays()
    given["order"][1, 5] = position
    with pytest.raises(ValueError, match="outside the map"):
        call(function, names, given)
