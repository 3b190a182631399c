"""Blocks of matrix products as ONNX graphs, of standard operators only."""

import numpy as np
import pytest
import torch

from mambaad.models.lss import HSSBlock

runtime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


# The exporter warns of what it uses itself.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mixer", "is_fixed"), [("vssd", False), ("ssd", True)])
def test_the_graph_has_standard_operators_and_gives_the_same_values(mixer, is_fixed, tmp_path):
    block = HSSBlock(8, states=4, mixer=mixer).eval()
    axes = {0: torch.export.Dim("b"), 1: torch.export.Dim("h"), 2: torch.export.Dim("w")}
    path = tmp_path / "block.onnx"
    torch.onnx.export(
        block,
        (torch.randn(2, 7, 10, 8),),
        path,
        dynamo=True,
        opset_version=18,
        dynamic_shapes=None if is_fixed else (axes,),
        verbose=False,
    )
    graph = onnx.load(path)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert [entry.domain for entry in graph.opset_import] == [""]
    assert not graph.functions
    session = runtime.InferenceSession(path)
    for shape in [(2, 7, 10)] if is_fixed else [(2, 7, 10), (1, 16, 5), (3, 2, 3)]:
        x = torch.randn(*shape, 8)
        with torch.no_grad():
            expected = block(x)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
