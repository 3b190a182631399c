import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch

from mambaad.ops import native
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.reference import selective_scan_reference
from mambaad.process import end_with_parent, process_context
from tests.ops.conftest import (
    EXTREMES,
    FLOATS,
    assert_close,
    assert_identical,
    cast,
    make_inputs,
    run,
    sizes_text,
    sizes_to_test,
    truth,
    truth_of_size,
)

pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="installed without the kernel")

CHUNK = native._native.CHUNK_LENGTH if native.AVAILABLE else 1


@pytest.fixture(params=native.VARIANTS)
def variant(request, monkeypatch):
    monkeypatch.setattr(native, "variant", request.param)
    return request.param


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize(
    "sizes",
    [
        *sizes_to_test(CHUNK),
        {"length": 49, "channels": 64, "directions": 8, "states": 16, "rank": 4},
    ],
    ids=sizes_text,
)
def test_kernel_equals_the_reference(sizes):
    assert_close(run(selective_scan, make_inputs(**sizes)), truth_of_size(**sizes))


@pytest.mark.usefixtures("variant")
def test_map_without_positions_has_no_gradients():
    found = run(selective_scan, make_inputs(length=0))
    assert found["y"].shape == (2, 0, 5)
    assert not any(t.any() for t in found.values())


def transposed(t):
    return t.transpose(0, -1).contiguous().transpose(0, -1)


def every_second(t):
    apart = t.new_zeros([2 * size + 1 for size in t.shape])
    view = apart[tuple(np.s_[1::2] for _ in t.shape)]
    view.copy_(t)
    return view


@pytest.mark.parametrize("layout", [transposed, every_second])
def test_memory_layout_does_not_matter(layout):
    inputs = make_inputs()
    views = {name: layout(t) for name, t in inputs.items()}
    assert not any(t.is_contiguous() for t in views.values())
    assert_identical(run(selective_scan, views), run(selective_scan, inputs))


def test_gradient_of_y_may_be_one_number_expanded():
    leaves = {n: t.requires_grad_(n in FLOATS) for n, t in make_inputs().items()}
    wanted = [leaves[name] for name in FLOATS]
    expanded = torch.autograd.grad(selective_scan(**leaves).sum(), wanted)
    y = selective_scan(**leaves)
    for found, expected in zip(
        expanded, torch.autograd.grad(y, wanted, torch.ones_like(y)), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("fill", EXTREMES)
def test_extreme_values(fill):
    inputs = make_inputs()
    for name, value in fill.items():
        inputs[name].fill_(value)
    found = run(selective_scan, inputs)
    assert all(t.isfinite().all() for t in found.values())
    assert_close(found, truth(inputs))


@pytest.mark.usefixtures("variant")
def test_steps_and_decays_are_accurate_to_many_digits():
    x = torch.linspace(-80, 80, 4001)[None]
    one = torch.ones(1, 2, 1)  # two positions, or one of everything where sliced
    y = selective_scan(
        u=one.expand(1, 2, x.numel()),
        proj=torch.tensor([0.0, 1, 1]).expand(1, 2, 3),  # low, B, C
        dt_weight=torch.zeros(1, x.numel(), 1),
        dt_bias=x,
        A=torch.full((1, x.numel(), 1), -0.7),
        skip=torch.zeros_like(x),
        order=torch.tensor([[0, 1]]),
    )
    dt = np.logaddexp(0, x.double().numpy())
    # Of exp(-80) no more can be had: the exponent itself is rounded to 4e-6.
    np.testing.assert_allclose(y[0, 0].numpy(), dt[0], rtol=1e-5)
    np.testing.assert_allclose(y[0, 1].numpy(), (dt * (1 + np.exp(-0.7 * dt)))[0], rtol=1e-5)


@pytest.mark.usefixtures("variant")
def test_errors_do_not_add_up_over_long_sequences():
    length = 5000
    inputs = make_inputs(batch=1, length=length, channels=2, directions=1, states=1, rank=1)
    inputs["A"][:] = torch.tensor([-1e-3, -1e-5])[None, :, None]
    dt = 0.01  # the same at every step, so that the state is a geometric series
    inputs["dt_weight"].zero_()
    inputs["dt_bias"].fill_(np.log(np.expm1(dt)))
    for name in ("u", "proj"):
        inputs[name].fill_(1)
    decay = np.exp(dt * inputs["A"][0, :, 0].double().numpy())
    step = 1 + np.arange(length)[:, None]
    y = np.empty((length, 2))
    y[inputs["order"][0]] = dt * (1 - decay**step) / (1 - decay) + inputs["skip"].numpy()
    # A decay wrong by its last bit at every step would be 6e-8 * length = 3e-4 at the end.
    np.testing.assert_allclose(selective_scan(**inputs)[0], y, rtol=0, atol=1.5e-4 * y.max())


RANK, STATES = 2, 3


@pytest.mark.parametrize(
    ("name", "index"),
    [
        pytest.param("u", 0, id="u"),
        pytest.param("proj", 0, id="low"),
        pytest.param("proj", RANK, id="B"),
        pytest.param("proj", RANK + STATES, id="C"),
        pytest.param("dt_weight", 0, id="dt_weight"),
        pytest.param("dt_bias", 0, id="dt_bias"),
        pytest.param("A", 0, id="A"),
        pytest.param("skip", 0, id="skip"),
    ],
)
def test_nan_reaches_what_depends_on_it_and_nothing_else(name, index, variant):
    inputs = make_inputs(rank=RANK, states=STATES)
    inputs[name].view(-1)[index] = torch.nan
    found, expected = selective_scan(**inputs), selective_scan_reference(**inputs)
    assert expected.isnan().any()
    assert not expected.isnan().all()
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_results_repeat_whatever_the_number_of_threads(batch, set_threads):
    inputs = make_inputs(batch=batch, channels=70)
    set_threads(1)
    alone = run(selective_scan, inputs)
    for threads in (1, 2, 3):
        set_threads(threads)
        found = run(selective_scan, inputs)
        assert_identical(run(selective_scan, inputs), found)
        # Threads that share an image add up parts of proj's gradient: the same values for the
        # same number of threads, but another order of additions for another number.
        assert_close({"proj": found.pop("proj")}, {"proj": alone["proj"]}, gradients=1e-6)
        assert_identical(found, {n: t for n, t in alone.items() if n != "proj"})


def test_graph_may_be_walked_through_again():
    leaves = {n: t.requires_grad_(n in FLOATS) for n, t in make_inputs().items()}
    wanted = [leaves[name] for name in FLOATS]
    loss = selective_scan(**leaves).square().sum()
    first = torch.autograd.grad(loss, wanted, retain_graph=True)
    for once, again in zip(first, torch.autograd.grad(loss, wanted), strict=True):
        assert torch.equal(once, again)


def test_second_derivatives_are_refused_rather_than_wrong():
    leaves = {n: t.requires_grad_(n in FLOATS) for n, t in make_inputs(length=3).items()}
    loss = selective_scan(**leaves).square().sum()
    (grad_u,) = torch.autograd.grad(loss, leaves["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="selective_scan_backward"):
        grad_u.sum().backward()


def test_several_python_threads_at_once():
    # One of them has the kernel's threads at any time, the others work alone.
    work = [make_inputs(batch=1, channels=40 + n) for n in range(4)]
    expected = [run(selective_scan, inputs) for inputs in work]
    start = threading.Barrier(len(work))

    def scan_again_and_again(inputs):
        start.wait(timeout=60)
        return [run(selective_scan, inputs) for _ in range(5)]

    with ThreadPoolExecutor(len(work)) as pool:
        for results, once in zip(pool.map(scan_again_and_again, work), expected, strict=True):
            for found in results:
                assert_identical(found, once)


def forward_and_backward(inputs):
    # Without autograd, whose own threads may not survive a fork.
    arguments = [inputs[name] for name in FLOATS] + [inputs["order"].int()]
    y, carry = torch.ops.mambaad.selective_scan(*arguments, True)
    grads = torch.ops.mambaad.selective_scan_backward(*arguments, carry, torch.ones_like(y))
    return [t.numpy() for t in (y, *grads)]


def answer(connection, inputs):
    connection.send(forward_and_backward(inputs))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform"
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12: has threads
def test_forked_processes_scan_with_threads_of_their_own():
    # Data loaders fork, and the kernel's threads stay behind in the parent.
    fork = multiprocessing.get_context("fork")
    inputs = make_inputs(batch=1, channels=40)
    expected = forward_and_backward(inputs)
    for _ in range(2):
        here, there = fork.Pipe()
        child = fork.Process(target=answer, args=(there, inputs), daemon=True)
        child.start()
        try:
            assert here.poll(timeout=60), "the child hangs"
            for found, once in zip(here.recv(), expected, strict=True):
                np.testing.assert_array_equal(found, once)
        finally:
            child.kill()
            child.join()
        for again, once in zip(forward_and_backward(inputs), expected, strict=True):
            np.testing.assert_array_equal(again, once)


def count_further_threads(connection):
    end_with_parent()
    torch.set_num_threads(2)
    torch.ones(2**22).exp_()  # starts those of torch
    before = psutil.Process().num_threads()
    forward_and_backward(make_inputs(batch=1, channels=40))
    connection.send(psutil.Process().num_threads() - before)


def test_processes_of_the_server_compute_with_the_threads_of_torch():
    context = process_context("mambaad.ops.native")
    here, there = context.Pipe()
    process = context.Process(target=count_further_threads, args=(there,))
    process.start()
    assert here.poll(timeout=60)
    assert here.recv() == 0
    process.join()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # its own
@pytest.mark.parametrize(("grad", "keep_carry"), [(False, False), (False, True), (True, True)])
def test_operator_obeys_the_rules_of_torch(grad, keep_carry):
    inputs = {n: t.requires_grad_(grad and n in FLOATS) for n, t in make_inputs(length=9).items()}
    inputs["order"] = inputs["order"].int()
    torch.library.opcheck(torch.ops.mambaad.selective_scan, (*inputs.values(), keep_carry))


def test_gradients_need_the_carried_states():
    inputs = {n: t.requires_grad_(n in FLOATS) for n, t in make_inputs().items()}
    inputs["order"] = inputs["order"].int()
    y, carry = torch.ops.mambaad.selective_scan(*inputs.values(), False)
    assert carry.numel() == 0
    with pytest.raises(ValueError, match="carry"):
        y.sum().backward()


@pytest.mark.parametrize("position", [-1, 37])
def test_order_cannot_reach_outside_the_map(position):
    inputs = make_inputs(length=37)
    inputs["order"][1, 5] = position
    with pytest.raises(ValueError, match="outside the map"):
        selective_scan(**inputs)


def test_unknown_variant_is_refused(monkeypatch):
    monkeypatch.setattr(native, "variant", "sse9")
    with pytest.raises(ValueError, match="'sse9'"):
        selective_scan(**make_inputs())


def test_default_type_of_torch_does_not_matter():
    inputs = make_inputs()
    expected = run(selective_scan, inputs)
    torch.set_default_dtype(torch.float64)
    try:
        found = run(selective_scan, cast(inputs, torch.float32))
    finally:
        torch.set_default_dtype(torch.float32)
    assert_identical(found, expected)


def test_states_that_fade_away_are_right_and_leave_the_processor_as_it_was():
    # Inside the kernel subnormal numbers are zero; outside they are what they were.
    inputs = make_inputs(length=200)
    inputs["u"][:, 20:] = 0
    assert_close(run(selective_scan, inputs), truth(inputs))
    tiny = torch.full((64,), 1e-40)
    assert torch.equal(tiny * 1.0, tiny)
    assert (tiny * 1.0).max() > 0
