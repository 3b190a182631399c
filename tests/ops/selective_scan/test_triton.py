"""The Triton kernels: natively where there is a GPU, else in Triton's interpreter.

The interpreter takes some 10 ms for each step of each program, so that shapes are few and small.
"""

import pytest
import torch

from mambaad.models.lss import LSSModule
from mambaad.ops.selective_scan import operator
from mambaad.ops.selective_scan.reference import selective_scan_reference
from tests.ops.conftest import (
    EXTREMES,
    FLOATS,
    assert_close,
    assert_identical,
    cast,
    make_inputs,
    run,
    sizes_text,
    truth,
    truth_of_size,
)

pytest.importorskip("triton")

from mambaad.ops.selective_scan import gpu, plan
from mambaad.ops.selective_scan.plan import Tiling, channels_of
from tests.ops.selective_scan.gpu_runs import (
    DEVICE,
    PLACES_OF_NAN,
    check_nan_stays,
    check_order_stays_within_its_image,
    run_tiled,
    scan,
)


@pytest.fixture(autouse=True)
def triton_everywhere(monkeypatch):
    monkeypatch.setattr(operator, "triton_on_cpu", True)


# Chosen so that every mask, loop and padding of the kernels is met on either side of its limit,
# one side of the problem at a time, on one image and one direction:
#   length    one step; four steps and a tile less one, full, and one more; several tiles
#   channels  one; a block full, and one more (fewer in all the others)
#   states    one, a power of two, one that is padded to the next (3 in all the others), the model's
#   rank      one, a power of two, one that is padded (3, 33) to a value below and above a tile
#   batch     none, several (an image's offset); directions 2 and 8 (a direction's offset)
# then all of them uneven at once, and the model's widths in several of its directions.
SMALL = Tiling(steps=8)  # two fours of steps, where a GPU gets four
CHANNELS = channels_of(3, "atomic")
SHAPES = [
    *({"length": n} for n in (1, 3, 4, 5, 8, 19)),
    *({"channels": n} for n in (1, CHANNELS, CHANNELS + 1, 2 * CHANNELS + 1)),
    *({"states": n} for n in (1, 2, 16, 32)),
    *({"rank": n} for n in (1, 3, 4, 33)),
    *({"batch": n} for n in (0, 3)),
    *({"directions": n, "length": 5} for n in (2, 8)),
    {"batch": 2, "directions": 2, "length": 11, "channels": 19, "states": 7, "rank": 5},
]


@pytest.mark.parametrize("shape", SHAPES, ids=sizes_text)
def test_kernel_equals_the_reference(shape):
    sizes = {"batch": 1, "directions": 1, "length": 10, **shape}
    assert_close(run_tiled(make_inputs(**sizes), SMALL), truth_of_size(**sizes))


@pytest.mark.parametrize("length", [12, 17])
def test_operator_equals_the_reference(length):
    sizes = {"batch": 1, "directions": 4, "length": length, "channels": 16, "states": 16, "rank": 4}
    assert_close(run(scan, make_inputs(**sizes)), truth_of_size(**sizes))


def test_a_fixed_order_of_sums_gives_the_same_bits_and_the_same_values():
    sizes = {"batch": 1, "directions": 2, "length": 6, "channels": 19, "states": 7, "rank": 5}
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (run_tiled(make_inputs(**sizes), SMALL) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_close(first, truth_of_size(**sizes))
    torch.testing.assert_close(again, first, rtol=0, atol=0)


@pytest.mark.parametrize("fixed", [False, True])
def test_images_that_do_not_fit_at_once_are_scanned_in_groups(fixed, monkeypatch):
    sizes = {"batch": 3, "directions": 2, "length": 6}
    inputs = make_inputs(**sizes)
    # Of five channels, as make_inputs gives: two images at a time, or one.
    monkeypatch.setattr(plan, "SCRATCH", 2 * 4 * 2 * 6 * 5)
    torch.use_deterministic_algorithms(fixed)
    try:
        assert_close(run_tiled(inputs, SMALL), truth_of_size(**sizes))
    finally:
        torch.use_deterministic_algorithms(False)


def test_offsets_of_64_bits_change_nothing(monkeypatch):
    real, sizes = gpu.plans, {"batch": 2, "directions": 2, "length": 6}

    def widened(*args, **kwargs):
        for narrow in real(*args, **kwargs):
            yield narrow._replace(is_wide=True)

    monkeypatch.setattr(gpu, "plans", widened)
    assert_close(run_tiled(make_inputs(**sizes), SMALL), truth_of_size(**sizes))


def test_errors_do_not_add_up_over_many_tiles():
    inputs = make_inputs(length=300, batch=1, channels=2, directions=1, states=1, rank=1)
    expected = selective_scan_reference(**cast(inputs, torch.float64))
    assert_close({"y": scan(**inputs)}, {"y": expected})


def test_map_without_positions_has_no_gradients():
    found = run(scan, make_inputs(length=0))
    assert found["y"].shape == (2, 0, 5)
    assert not any(t.any() for t in found.values())


@pytest.mark.parametrize("fill", EXTREMES)
def test_extreme_values(fill):
    inputs = make_inputs(batch=1, directions=1, length=10)
    for name, value in fill.items():
        inputs[name].fill_(value)
    found = run(scan, inputs)
    assert all(t.isfinite().all() for t in found.values())
    assert_close(found, truth(inputs))


@pytest.mark.parametrize(
    ("length", "tiling"),
    [
        pytest.param(1, Tiling(4, 8, 99), id="more segments than tiles: shorter than a segment"),
        pytest.param(8, Tiling(8, 8, 1), id="one segment, of one full tile"),
        pytest.param(
            21, Tiling(8, 2, 1), id="one segment of several tiles, several channel blocks"
        ),
        pytest.param(8, Tiling(4, 4, 2), id="segments of one full tile"),
        pytest.param(37, Tiling(8, 8, 3), id="the last segment has fewer tiles, and one ragged"),
        pytest.param(16, Tiling(4, 8, 3), id="a segment that would be empty is left out"),
        pytest.param(13, Tiling(4, 4, 99), id="a segment for each tile"),
    ],
)
def test_segments_of_the_sequence_change_nothing(length, tiling):
    sizes = {"length": length, "batch": 1}
    assert_close(run_tiled(make_inputs(**sizes), tiling), truth_of_size(**sizes))


def test_autocast_reaches_no_sum_between_segments():
    inputs, tiling = make_inputs(length=13, batch=1), Tiling(4, 4, 3)
    expected = run_tiled(inputs, tiling)
    with torch.autocast("cpu", torch.bfloat16):
        assert_identical(run_tiled(inputs, tiling), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_inputs_are_scanned_in_float32(dtype):
    inputs = make_inputs(batch=1, length=10)
    halves = {n: t.to(dtype) if n in ("u", "proj") else t for n, t in inputs.items()}
    found = run(scan, halves)
    # The scan of the rounded inputs is exact; only the gradients of the halves are rounded again.
    rounded = {n: t.float() if n in ("u", "proj") else t for n, t in halves.items()}
    expected = truth(rounded)
    assert found["y"].dtype == torch.float32
    assert (found["u"].dtype, found["proj"].dtype) == (dtype, dtype)
    assert found["A"].dtype == torch.float32
    full = {n: t for n, t in found.items() if n not in ("u", "proj")}
    assert_close(full, {n: expected[n] for n in full})
    eps = torch.finfo(dtype).eps
    for name in ("u", "proj"):
        error = (found[name].double() - expected[name]).abs()
        assert (error <= eps * expected[name].abs() + 1e-4 * expected[name].abs().max()).all()


def test_the_carried_states_are_kept_only_when_wanted():
    inputs = make_inputs(length=40)
    given = [inputs[name].to(DEVICE) for name in FLOATS] + [inputs["order"].int().to(DEVICE)]
    _, carry = torch.ops.mambaad.selective_scan(*given, False)
    assert carry.numel() == 0
    y, carry = torch.ops.mambaad.selective_scan(*given, True)
    assert carry.shape == (2, 2, 3, 5, 3)  # batch, directions, tiles of 16 steps, channels, states
    assert not carry[:, :, 0].any()
    assert torch.allclose(y.cpu(), selective_scan_reference(**inputs), atol=1e-4)


@pytest.mark.parametrize(("name", "index"), PLACES_OF_NAN)
def test_nan_reaches_what_depends_on_it_and_nothing_else(name, index):
    check_nan_stays(name, index, length=10)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # its own
def test_operator_obeys_the_rules_of_torch():
    inputs = {n: t.to(DEVICE) for n, t in make_inputs(length=5, batch=1, directions=1).items()}
    inputs = {n: t.requires_grad_(n in FLOATS) for n, t in inputs.items()}
    inputs["order"] = inputs["order"].int()
    torch.library.opcheck(torch.ops.mambaad.selective_scan, (*inputs.values(), True))


def test_a_module_of_the_decoder_trains_as_with_the_reference(monkeypatch):
    torch.manual_seed(0)
    module = LSSModule(8, 1, directions=4, states=4).to(DEVICE)
    x = torch.randn(1, 4, 4, 8, device=DEVICE)

    def step():
        module.zero_grad()
        y = module(x)
        y.square().sum().backward()
        return [y.detach().cpu(), *(p.grad.clone().cpu() for p in module.parameters())]

    found = step()
    monkeypatch.setattr(
        "mambaad.models.mixers.ss2d.selective_scan",
        lambda *inputs: selective_scan_reference(*cast_all(inputs)).float(),
    )
    for ours, theirs in zip(found, step(), strict=True):
        # The gradients of biases before an instance norm are nothing but rounding.
        limit = 1e-4 * float(theirs.abs().max()) + 1e-5
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=limit)


def cast_all(inputs):
    names = (*FLOATS, "order")
    return cast(dict(zip(names, inputs, strict=True)), torch.float64).values()


def test_gradients_need_the_carried_states():
    inputs = make_inputs()
    given = (*(inputs[name].to(DEVICE) for name in FLOATS), inputs["order"].int().to(DEVICE))
    grad_y = torch.ones_like(given[0])
    with pytest.raises(ValueError, match="carry"):
        gpu.backward(given, torch.empty(2, 2, 0, 5, 3, device=DEVICE), grad_y)


def test_an_order_that_names_other_cells_stays_within_its_image():
    check_order_stays_within_its_image()
