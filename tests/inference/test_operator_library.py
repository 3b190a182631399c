"""The custom-operator library in onnxruntime, against the readable reference in float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mambaad.errors import ConfigError
from mambaad.inference import operator_library
from mambaad.inference.operator_library import library_path
from mambaad.ops import native
from tests.ops.conftest import (
    EXTREMES,
    FLOATS,
    assert_close,
    make_inputs,
    sizes_text,
    sizes_to_test,
    truth,
    truth_of_size,
)

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(not native.AVAILABLE, reason="installed without the kernel")

NAMES = (*FLOATS, "order")
SHAPES = {
    "u": ["b", "l", "d"],
    "proj": ["b", "l", "p"],
    "dt_weight": ["k", "d", "r"],
    "dt_bias": ["k", "d"],
    "A": ["k", "d", "n"],
    "skip": ["k", "d"],
    "order": ["k", "l"],
    "y": ["b", "l", "d"],
}


def model(*, types=None, shapes=SHAPES, names=NAMES, version=1, functions=()):
    """A graph of the one operator, serialised."""
    types = {
        name: onnx.TensorProto.INT32 if name == "order" else onnx.TensorProto.FLOAT
        for name in SHAPES
    } | (types or {})
    info = {n: onnx.helper.make_tensor_value_info(n, types[n], shapes.get(n)) for n in SHAPES}
    node = onnx.helper.make_node("SelectiveScan", list(names), ["y"], domain="mambaad")
    graph = onnx.helper.make_graph([node], "scan", [info[n] for n in NAMES], [info["y"]])
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("mambaad", version)]
    made = onnx.helper.make_model(
        graph, opset_imports=opsets, ir_version=9, functions=list(functions)
    )
    return made.SerializeToString()


def session(graph, *, threads=0):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is refused is raised; it need not be printed too
    options.register_custom_ops_library(str(library_path()))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def arrays(inputs):
    return {n: (t.int() if n == "order" else t).numpy() for n, t in inputs.items()}


def scan(inputs, **options):
    (y,) = session(model(), **options).run(None, arrays(inputs))
    return {"y": torch.from_numpy(y)}


@pytest.fixture(params=native.VARIANTS)
def variant(request, monkeypatch):
    monkeypatch.setenv("MAMBAAD_KERNEL", request.param)
    return request.param


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize(
    "sizes",
    [
        *sizes_to_test(32),
        {"length": 49, "channels": 64, "directions": 8, "states": 16, "rank": 4},
    ],
    ids=sizes_text,
)
def test_operator_equals_the_reference(sizes):
    assert_close(scan(make_inputs(**sizes)), {"y": truth_of_size(**sizes)["y"]})


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("fill", EXTREMES)
def test_extreme_values(fill):
    inputs = make_inputs()
    for name, value in fill.items():
        inputs[name].fill_(value)
    assert_close(scan(inputs), {"y": truth(inputs)["y"]})


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_values_are_the_same_for_every_number_of_threads(batch):
    inputs = make_inputs(batch=batch, channels=70)
    alone = scan(inputs, threads=1)["y"]
    for threads in (2, 3, 5):
        assert torch.equal(scan(inputs, threads=threads)["y"], alone)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("sizes", [{"length": 0}, {"channels": 0}], ids=sizes_text)
def test_maps_without_values(sizes):
    inputs = make_inputs(**sizes)
    assert scan(inputs)["y"].shape == inputs["u"].shape


def test_values_are_those_of_the_kernel_in_pytorch():
    inputs = make_inputs(batch=3, channels=70)
    assert torch.equal(
        scan(inputs)["y"],
        native.forward(
            (*(inputs[n] for n in FLOATS), inputs["order"].int()), torch.empty(3, 2, 0, 3, 70)
        ),
    )


def test_shape_of_the_result_is_known_before_a_run():
    shapes = {"u": ["b", 37, 5], "y": None}
    (y,) = session(model(shapes=shapes)).get_outputs()
    assert y.shape == ["b", 37, 5]
    (y,) = session(model(shapes={})).get_outputs()
    assert y.shape == []


@pytest.mark.parametrize("name", NAMES)
def test_every_side_of_every_input_is_checked(name):
    scans = session(model(shapes={}))
    given = arrays(make_inputs(length=9))
    for axis in range(given[name].ndim):
        for change in (-1, 1):
            shape = list(given[name].shape)
            shape[axis] += change
            wrong = given | {name: np.zeros(shape, given[name].dtype)}
            with pytest.raises(
                Exception, match=r"mambaad::SelectiveScan: \w+ is [\dx ]+, expected"
            ):
                scans.run(None, wrong)
    for wrong in (given[name][0], given[name][None], np.ravel(given[name])[:1].reshape(())):
        with pytest.raises(Exception, match=rf"SelectiveScan: {name} has \d dimensions, expected"):
            scans.run(None, given | {name: wrong})
    scans.run(None, given)  # and the session goes on


@pytest.mark.parametrize("position", [-1, 9, 2**31 - 1, -(2**31)])
def test_order_cannot_reach_outside_the_map(position):
    given = arrays(make_inputs(length=9))
    given["order"][1, 5] = position
    with pytest.raises(Exception, match=f"order names position {position} of a map of 9"):
        session(model()).run(None, given)


@pytest.mark.parametrize("name", [*NAMES, "y"])
def test_other_types_are_refused(name):
    with pytest.raises(Exception, match=r"[Tt]ype"):
        session(model(types={name: onnx.TensorProto.DOUBLE}))


@pytest.mark.parametrize("names", [NAMES[:-1], (*NAMES, "u"), ("", *NAMES[1:])])
def test_other_numbers_of_inputs_are_refused(names):
    with pytest.raises(Exception, match=r"SelectiveScan"):
        session(model(names=names))


def zero_scan():
    """A function of the operator's name whose result is 0."""
    node = onnx.helper.make_node("Sub", ["u", "u"], ["y"])
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_function("mambaad", "SelectiveScan", NAMES, ["y"], [node], opsets)


def test_library_takes_the_place_of_the_models_own_function():
    inputs = make_inputs()
    graph = model(functions=[zero_scan()])
    plain = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert not plain.run(None, arrays(inputs))[0].any()
    (y,) = session(graph).run(None, arrays(inputs))
    assert_close({"y": torch.from_numpy(y)}, {"y": truth(inputs)["y"]})


def test_unknown_kernel_variant_is_refused_when_the_library_is_registered(monkeypatch):
    monkeypatch.setenv("MAMBAAD_KERNEL", "sse9")
    with pytest.raises(Exception, match=r"MAMBAAD_KERNEL: expected one of .*generic, got 'sse9'"):
        session(model())
    monkeypatch.setenv("MAMBAAD_KERNEL", "torch")  # PyTorch's, which says nothing about this one
    session(model())


@pytest.fixture(scope="module")
def older():
    """The oldest onnxruntime that the project promises, unpacked into a folder."""
    if not (folder := os.environ.get("MAMBAAD_OLDER_ONNXRUNTIME")):
        pytest.skip("MAMBAAD_OLDER_ONNXRUNTIME names no folder with onnxruntime 1.20.0 in it")
    return folder


RUN_THERE = """
import sys
import numpy, onnxruntime
from pathlib import Path

library, folder = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = 2
options.register_custom_ops_library(library)
scan = onnxruntime.InferenceSession(f"{folder}/scan.onnx", options, ["CPUExecutionProvider"])
given = dict(numpy.load(f"{folder}/given.npz"))
numpy.save(f"{folder}/y.npy", scan.run(None, given)[0])
print(onnxruntime.__version__, scan.get_outputs()[0].shape)
try:
    scan.run(None, given | {"skip": given["skip"][:, 1:]})
except Exception as error:
    print(error)
"""


def test_same_file_serves_the_oldest_onnxruntime(older, tmp_path):
    # The newest is the one that all the other tests run.
    inputs = make_inputs(batch=3, channels=70)
    np.savez(tmp_path / "given.npz", **arrays(inputs))
    (tmp_path / "scan.onnx").write_bytes(model(shapes=SHAPES | {"y": None}))
    done = subprocess.run(
        [sys.executable, "-c", RUN_THERE, str(library_path()), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": older},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.20.0 ['b', 'l', 'd']")
    assert "mambaad::SelectiveScan: " in done.stdout
    y = torch.from_numpy(np.load(tmp_path / "y.npy"))
    assert torch.equal(y, scan(inputs)["y"])


def test_missing_library_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(operator_library, "_PACKAGE", tmp_path)
    with pytest.raises(ConfigError, match="operator library for onnxruntime is missing") as caught:
        library_path()
    assert "\n" not in str(caught.value)
