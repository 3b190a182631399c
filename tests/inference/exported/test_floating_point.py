"""Subnormal numbers are the caller's own again when a runtime has computed."""

import subprocess
import sys

import numpy as np
import pytest

from mambaad.inference.exported.floating_point import subnormals_as_zero

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of Linux's C library")

TINY = np.full(64, 1e-40, np.float32)


def test_within_they_are_zero_and_afterwards_what_they_were():
    assert (TINY * 1).min() > 0
    with subnormals_as_zero():
        assert (TINY * 1).max() == 0
        with subnormals_as_zero():
            pass
        assert (TINY * 1).max() == 0
    assert (TINY * 1).min() > 0
    with pytest.raises(ValueError, match="of the caller"), subnormals_as_zero():
        raise ValueError("of the caller")
    assert (TINY * 1).min() > 0


_SESSION = """
import numpy as np
from onnx import TensorProto as T, helper
from mambaad.inference.exported.onnx_session import OnnxSession

def value(name, kind):
    return helper.make_tensor_value_info(name, kind, [1, 2, 2, 3])

nodes = [helper.make_node("Cast", ["images"], ["map"], to=T.FLOAT)]
graph = helper.make_graph(nodes, "g", [value("images", T.UINT8)], [value("map", T.FLOAT)])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = OnnxSession(model.SerializeToString(), None)  # the first of its process
tiny = np.full(64, 1e-40, np.float32)
assert (tiny * 1).min() > 0
found = session.run(np.full((1, 2, 2, 3), 7, np.uint8))
assert found["map"].max() == 7
assert (tiny * 1).min() > 0
"""


def test_the_first_session_of_onnxruntime_changes_no_numbers_of_its_caller():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    done = subprocess.run([sys.executable, "-c", _SESSION], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
