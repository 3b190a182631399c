"""The CUDA kernels: natively where there is a GPU, else compiled for a CPU, a warp's lanes in turn.

What only the hardware does (an exponential, copies ahead, exchanges between lanes) is in
``cuda_on_cpu/device.cuh`` there. dt and its gradients are Triton's, in its interpreter.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from mambaad.ops.selective_scan import operator
from tests.ops.conftest import (
    EXTREMES,
    FLOATS,
    Tensors,
    assert_close,
    assert_identical,
    make_inputs,
    run,
    sizes_text,
    truth,
    truth_of_size,
)

pytest.importorskip("triton")

from mambaad.ops.selective_scan.cuda import program
from mambaad.ops.selective_scan.plan import Tiling, plans
from tests.ops.selective_scan.gpu_runs import (
    DEVICE,
    PLACES_OF_NAN,
    check_nan_stays,
    check_order_stays_within_its_image,
    placed,
    run_tiled,
    scan,
)

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """The kernels on this CPU, a library for each number of ranks."""
    compiler = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    libraries = {}
    for ranks in {program.ranks_for(rank) for rank in range(1, 64)}:
        library = tmp_path_factory.mktemp("kernels") / "kernels.so"
        command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-DRANKS={ranks}"]
        command += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered"]
        command += ["-I", HERE / "cuda_on_cpu", "-I", program.FOLDER, "-o", library]
        subprocess.run([*command, HERE / "cuda_on_cpu" / "kernels.cpp"], check=True)
        libraries[ranks] = ctypes.CDLL(library)
        libraries[ranks].launch.restype = ctypes.c_bool
    return libraries


@pytest.fixture(autouse=True)
def cuda_everywhere(request, monkeypatch):
    if DEVICE == "cuda":
        return
    kernels = request.getfixturevalue("kernels")

    def launch(kernel, device, ranks, grid, *arguments):
        array, _values = program.pointers(*arguments)
        assert kernels[ranks].launch(kernel.encode(), *grid, array)

    monkeypatch.setattr(operator, "triton_on_cpu", True)
    monkeypatch.setattr(program, "takes", lambda device, states: states <= program.STATES)
    monkeypatch.setattr(program, "launch", launch)


def run_in_segments(inputs: Tensors, segments: int) -> dict[str, torch.Tensor]:
    tiling = Tiling(segments=segments)
    assert {plan.kernels for plan in plans(placed(inputs), tiling)} == {"cuda"}
    return run_tiled(inputs, tiling)


# On either side of every limit: of a tile of 16 steps, of a program's 16 channels and 16 states, of
# the 32 ranks that are copied ahead; and with rows that can be copied four values at a time.
SHAPES = [
    *({"length": n} for n in (1, 2, 15, 16, 17, 32, 45)),
    *({"channels": n} for n in (1, 2, 15, 16, 17, 33)),
    *({"states": n} for n in (1, 3, 4, 15, 16)),
    *({"rank": n} for n in (1, 4, 5, 8, 9, 16, 32, 33, 37)),
    *({"batch": n} for n in (3,)),
    *({"directions": n, "length": 5} for n in (2, 8)),
    {"batch": 2, "directions": 3, "length": 35, "channels": 39, "states": 7, "rank": 5},
    {"batch": 2, "directions": 2, "length": 33, "channels": 32, "states": 16, "rank": 4},
    {"batch": 2, "directions": 2, "length": 18, "channels": 20, "states": 8, "rank": 36},
]


@pytest.mark.parametrize("shape", SHAPES, ids=sizes_text)
def test_kernels_equal_the_reference(shape):
    sizes = {"batch": 1, "directions": 1, "length": 10, **shape}
    assert_close(run_in_segments(make_inputs(**sizes), 1), truth_of_size(**sizes))


@pytest.mark.parametrize(("length", "segments"), [(16, 9), (37, 2), (64, 2), (70, 5)])
def test_segments_of_the_sequence_change_nothing(length, segments):
    sizes = {"length": length, "batch": 2, "channels": 34}
    assert_close(run_in_segments(make_inputs(**sizes), segments), truth_of_size(**sizes))


def test_operator_equals_the_reference():
    sizes = {"batch": 2, "directions": 4, "length": 17, "channels": 36, "states": 16, "rank": 4}
    assert_close(run(scan, make_inputs(**sizes)), truth_of_size(**sizes))


@pytest.mark.parametrize("fill", EXTREMES)
def test_extreme_values(fill):
    inputs = make_inputs(batch=1, directions=1, length=10)
    for name, value in fill.items():
        inputs[name].fill_(value)
    found = run(scan, inputs)
    assert all(t.isfinite().all() for t in found.values())
    assert_close(found, truth(inputs))


@pytest.mark.parametrize(("name", "index"), PLACES_OF_NAN)
def test_nan_reaches_what_depends_on_it_and_nothing_else(name, index):
    check_nan_stays(name, index, length=20)


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("length", [10, 64])
def test_nan_at_a_step_reaches_no_other_values_or_gradients(length, segments):
    inputs = make_inputs(batch=1, directions=1, length=length)
    last = inputs["order"][0, length // 2 if segments > 1 else -1]
    inputs["u"][0, last, 0] = torch.nan
    found, expected = run_in_segments(inputs, segments), truth(inputs)
    for name in ("y", "u", "A"):
        assert torch.equal(found[name].isnan(), expected[name].isnan()), name


def test_images_that_do_not_fit_at_once_are_scanned_in_groups(monkeypatch):
    sizes = {"batch": 3, "directions": 2, "length": 6}
    # Of five channels, as make_inputs gives: two images at a time.
    monkeypatch.setattr("mambaad.ops.selective_scan.plan.SCRATCH", 2 * 4 * 2 * 6 * 5)
    assert_close(run_in_segments(make_inputs(**sizes), 1), truth_of_size(**sizes))


def test_an_order_that_names_other_cells_stays_within_its_image():
    check_order_stays_within_its_image()


def test_more_states_and_a_fixed_order_of_sums_are_for_triton():
    def kernels_of(**sizes):
        inputs = make_inputs(**sizes)
        given = tuple(inputs[name].to(DEVICE) for name in (*FLOATS, "order"))
        return {plan.kernels for plan in plans(given, Tiling())}

    assert kernels_of(states=16) == {"cuda"}
    assert kernels_of(states=17) == {"triton"}
    torch.use_deterministic_algorithms(True)
    try:
        assert kernels_of(states=16) == {"triton"}
        first, again = (run(scan, make_inputs(length=6)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert_identical(first, again)
