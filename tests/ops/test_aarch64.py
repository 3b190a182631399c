"""The kernels of 64-bit Arm, cross-compiled and run by an emulator: their values, not their speed.

Needs Debian's packages g++-aarch64-linux-gnu, qemu-user-static and cmake.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ops.conftest import (
    EXTREMES,
    FLOATS,
    assert_close,
    make_inputs,
    sizes_to_test,
    truth,
    truth_of_size,
)
from tests.ops.test_instance_norm import truth as norm_truth

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, (COMPILER, EMULATOR, "cmake", "make"))),
    reason=f"needs {COMPILER}, {EMULATOR}, cmake and make",
)

SIZES = [
    *sizes_to_test(32),
    {"length": 49, "channels": 64, "directions": 8, "states": 16, "rank": 4},
]
SCAN, ELEMENTARY, NORM = range(3)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder where the project's own build has put the library and the driver."""
    folder = tmp_path_factory.mktemp("aarch64")
    configure = ["cmake", "-G", "Unix Makefiles", "-S", ROOT, "-B", folder,
                 "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
                 f"-DCMAKE_CXX_COMPILER={COMPILER}", "-DCMAKE_CXX_FLAGS=-Werror",
                 "-DMAMBAAD_PYTHON=OFF", "-DMAMBAAD_KERNEL_DRIVER=ON"]  # fmt: skip
    for command in (configure, ["cmake", "--build", folder, "-j", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def driver(build, tmp_path_factory):
    """A function from cases to the flat float32 array of all their results."""
    folder = tmp_path_factory.mktemp("driver")

    def run(cases):
        with (folder / "given").open("wb") as file:
            for kind, threads, sizes, arrays in cases:
                file.write(np.array([kind, threads, *sizes, *[0] * (6 - len(sizes))], "<i8"))
                file.writelines(np.ascontiguousarray(a).tobytes() for a in arrays)
        command = [EMULATOR, "-L", "/usr/aarch64-linux-gnu", build / "kernel_driver",
                   folder / "given", folder / "result"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "neon\n"
        return np.fromfile(folder / "result", "<f4")

    return run


def scan_case(inputs, threads):
    """A case of the driver, and the names and shapes of its results."""
    u, proj, A = inputs["u"], inputs["proj"], inputs["A"]
    random = torch.Generator().manual_seed(12)  # as conftest.run
    grad_y = torch.randn(u.shape, generator=random, dtype=torch.float32)
    rank = inputs["dt_weight"].shape[2]
    sizes = (*u.shape, A.shape[0], A.shape[2], rank)
    assert proj.shape[2] == A.shape[0] * (rank + 2 * A.shape[2])
    arrays = [*(inputs[name] for name in FLOATS), grad_y, inputs["order"].int()]
    case = (SCAN, threads, sizes, [t.numpy() for t in arrays])
    return case, {"y": u.shape, **{name: inputs[name].shape for name in FLOATS}}


def scans(driver, all_inputs, threads=2):
    cases = [scan_case(inputs, threads) for inputs in all_inputs]
    flat = torch.from_numpy(driver([case for case, _ in cases]))
    at = 0
    for _, shapes in cases:
        found = {}
        for name, shape in shapes.items():
            found[name] = flat[at : at + shape.numel()].view(shape)
            at += shape.numel()
        yield found
    assert at == len(flat)


def test_scan_and_its_gradients_equal_the_reference(driver):
    all_inputs = [make_inputs(**sizes) for sizes in SIZES]
    for sizes, found in zip(SIZES, scans(driver, all_inputs), strict=True):
        assert_close(found, truth_of_size(**sizes))


def test_extreme_values(driver):
    all_inputs = []
    for fill in EXTREMES:
        inputs = make_inputs()
        for name, value in fill.values[0].items():
            inputs[name].fill_(value)
        all_inputs.append(inputs)
    for inputs, found in zip(all_inputs, scans(driver, all_inputs), strict=True):
        assert all(t.isfinite().all() for t in found.values())
        assert_close(found, truth(inputs))


def test_nan_stays(driver):
    inputs = make_inputs()
    inputs["dt_bias"][0, 0] = torch.nan
    (found,) = scans(driver, [inputs])
    assert found["y"][..., 0].isnan().all()
    assert found["y"][..., 1:].isfinite().all()


def test_threads_do_not_change_the_result(driver):
    inputs = make_inputs(batch=1, channels=70)
    first, second = (next(scans(driver, [inputs], threads)) for threads in (1, 3))
    assert torch.equal(first["y"], second["y"])


def test_elementary_functions_are_within_their_stated_errors(driver):
    exponents = np.concatenate([-np.geomspace(1e-8, 125, 20_000), np.linspace(-2, 0, 20_001)])
    a = np.float32(np.linspace(-79.9, 79.9, len(exponents)))
    a[a == 0] = 1
    b = np.float32(exponents / a)
    y = driver([(ELEMENTARY, 1, (len(a),), [a, b])])
    decay, softplus, silu = y.astype(np.float64).reshape(3, -1)
    wide, product = a.astype(np.float64), a.astype(np.float64) * b
    error = np.abs(decay / np.exp2(product) - 1)
    assert (error <= 4e-7 + 4.2e-8 * np.abs(product)).all()
    small = np.abs(product) < 1e-3
    assert (error[small] <= 6e-8 + 2e-5 * np.abs(product[small])).all()
    exact = np.logaddexp(0, wide)
    assert (np.abs(softplus - exact) <= exact * (4e-7 + 7e-8 * np.abs(wide))).all()
    exact = wide / (1 + np.exp(-wide))
    assert (np.abs(silu - exact) <= np.abs(exact) * (4e-7 + 1.2e-7 * np.abs(wide))).all()


@pytest.mark.parametrize("channels", [1, 4, 7, 64, 65])
def test_instance_norm_equals_pytorchs(driver, channels):
    x = torch.randn(2, channels, 5, 3, generator=torch.Generator().manual_seed(3)) * 3 + 5
    last = x.flatten(2).transpose(1, 2).contiguous()
    found = torch.from_numpy(driver([(NORM, 2, (2, 15, channels), [last.numpy()])]))
    expected = norm_truth(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found.view(last.shape), expected, rtol=1e-5, atol=1e-5)


def instructions(build, loop_of):
    """Instructions of the innermost loop of `forward` that has `loop_of` exponentials."""
    (object_file,) = build.glob("**/scan_neon.cpp.o")
    listing = subprocess.run(
        ["aarch64-linux-gnu-objdump", "-d", "-C", "--no-show-raw-insn", object_file],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (forward,) = re.findall(r"::forward\(.*>:\n((?:.+\n)+)", listing)
    lines = [line.split("\t") for line in forward.splitlines()]
    places = {line[0].strip(" :"): i for i, line in enumerate(lines)}
    for i, line in enumerate(lines):
        start = places.get(line[2].split()[0]) if line[1].startswith("b.") else None
        if start is not None and start < i:
            loop = [line[1] for line in lines[start : i + 1]]
            branches = sum(name.startswith("b.") for name in loop)
            if branches == 1 and loop.count("shl") == loop_of:
                return len(loop)
    raise AssertionError(f"no innermost loop with {loop_of} exponentials")


def test_innermost_loop_is_as_short_as_the_readme_says(build):
    text = " ".join((ROOT / "src/mambaad/ops/README.md").read_text().split())
    (stated,) = re.findall(r"On 64-bit Arm the innermost loop has (\d+) instructions", text)
    # Another version of the compiler may arrange it otherwise, but not by much.
    assert instructions(build, 4) <= 1.1 * int(stated)


def test_library_for_onnxruntime_is_built_too(build):
    (library,) = build.glob("libmambaad_onnxruntime.so")
    head = library.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == 183  # EM_AARCH64
    assert library.stat().st_size < 400_000
