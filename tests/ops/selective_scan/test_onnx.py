"""The ONNX form of the scan in the runtimes that are at hand, against the reference."""

import numpy as np
import pytest
import torch

from mambaad.inference.operator_library import library_path
from mambaad.ops import native
from mambaad.ops.selective_scan.dispatch import selective_scan
from mambaad.ops.selective_scan.reference import selective_scan_reference

pytest.importorskip("onnxscript")

from mambaad.ops.scan_operator import DOMAIN, OPERATOR
from mambaad.ops.selective_scan.onnx import TRANSLATIONS, define_in

pytestmark = [
    pytest.mark.skipif(not native.AVAILABLE, reason="what is translated is the native operator"),
    pytest.mark.filterwarnings("ignore", "error:::mambaad.ops.selective_scan.onnx"),
]
DIRECTIONS, LENGTH, CHANNELS, STATES, RANK = 4, 24, 5, 3, 2


class Scan(torch.nn.Module):
    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.nn.Parameter(torch.randn(*shape, generator=random))

        self.dt_weight = normal(DIRECTIONS, CHANNELS, RANK)
        self.dt_bias = normal(DIRECTIONS, CHANNELS)
        self.A_log = normal(DIRECTIONS, CHANNELS, STATES)
        self.skip = normal(DIRECTIONS, CHANNELS)
        orders = [torch.randperm(LENGTH, generator=random) for _ in range(DIRECTIONS)]
        self.register_buffer("order", torch.stack(orders).int())

    def forward(self, u, proj):
        return self.run(selective_scan, u, proj)

    def run(self, scan, u, proj):
        A = -torch.exp(self.A_log)
        return scan(u, proj, self.dt_weight, self.dt_bias, A, self.skip, self.order)


def inputs(batch):
    width = DIRECTIONS * (RANK + 2 * STATES)
    return torch.randn(batch, LENGTH, CHANNELS), torch.randn(batch, LENGTH, width)


def onnxruntime_values(path, arrays, library=None):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    if library:
        options.register_custom_ops_library(str(library))
    session = runtime.InferenceSession(path, options)
    names = [argument.name for argument in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))[0]


def kernel_values(path, arrays):
    return onnxruntime_values(path, arrays, library_path())


def openvino_values(path, arrays):
    openvino = pytest.importorskip("openvino")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    return openvino.Core().compile_model(path, "CPU", exact)(arrays)[0]


def exported(path, dynamic):
    scan = Scan()
    axes = {0: torch.export.Dim("batch")} if dynamic else {}
    torch.onnx.export(
        scan,
        inputs(2),
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=(axes, axes),
        custom_translation_table=TRANSLATIONS,
    )
    return scan


@pytest.mark.parametrize("values_of", [onnxruntime_values, kernel_values, openvino_values])
@pytest.mark.parametrize("batches", [(2,), (1, 3)])  # exported for one batch size, or for any
def test_values_are_those_of_the_reference(values_of, batches, tmp_path):
    path = tmp_path / "scan.onnx"
    scan = exported(path, dynamic=len(batches) > 1)
    define_in(path, inline=values_of is openvino_values)
    for batch in batches:
        u, proj = inputs(batch)
        expected = scan.run(selective_scan_reference, u, proj).detach().numpy()
        found = values_of(path, [u.numpy(), proj.numpy()])
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_the_operator_is_one_node_and_its_definition_a_function(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "scan.onnx"
    exported(path, dynamic=True)
    define_in(path)
    model = onnx.load(path)
    assert [(node.domain, node.op_type) for node in model.graph.node] == [(DOMAIN, OPERATOR)]
    assert [(f.domain, f.name) for f in model.functions] == [(DOMAIN, OPERATOR)]
    onnx.checker.check_model(model, full_check=True)
    define_in(path, inline=True)
    assert not onnx.load(path).functions
