"""Every system and block as an exported graph, against the engine of the model itself."""

import copy

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.export.graph import InferenceGraph, traced
from mambaad.export.onnx import onnx_model
from mambaad.export.values import check_values, drawn_images
from mambaad.inference.exported.onnx_session import OnnxSession
from mambaad.inference.packed.pack import pack
from mambaad.inference.torch_engine import TorchEngine
from mambaad.models.build import build_system

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

# PyTorch's exporter takes seconds for every block.
LITE = {"encoder": "resnet18", "size": "64", "variant": "lite", "depths": (1, 1, 1, 1)}
SYSTEMS = {
    "s6 with a head": {**LITE, "directions": 2, "head": "residual"},
    "vssd": {**LITE, "mixer": "vssd"},
    "ssd": {**LITE, "mixer": "ssd"},
    "rd4ad": {"system": "rd4ad", "encoder": "resnet18", "size": "64"},
    "uniad": {"system": "uniad", "encoder": "resnet18", "size": "128"},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_graph_has_the_values_of_the_engine(name):
    torch.manual_seed(0)
    config = make_config(SYSTEMS[name])
    model = build_system(config, "random").eval()
    if model.head is not None:
        model.head.begin()  # else it finds nothing
        model.eval()
    channels = model.encoder.channels
    means = torch.randn(3, channels if isinstance(channels, int) else sum(channels))
    engine = TorchEngine(copy.deepcopy(model), config.size, means, keep_evidence=True)
    graph = InferenceGraph(pack(model), config.size, means)
    assert graph.has_scan == name.startswith("s6")
    model = onnx_model(traced(graph), graph.outputs)
    session = OnnxSession(model.SerializeToString(), "required" if graph.has_scan else None)
    found = check_values(session, engine, "onnx", "float32", drawn_images(config.size))
    assert found["images"] == 3
    assert found["distances"] <= 1e-4  # of means that are far away


class Zeros:
    """A session of a runtime that is silently wrong."""

    def run(self, images):
        shape = images.shape[:3]
        return {"anomaly_map": np.zeros(shape, np.float32), "score": np.zeros(shape[:1])}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_runtime_that_is_wrong_is_refused(precision):
    torch.manual_seed(0)
    config = make_config({**LITE, "directions": 1})
    model = build_system(config, "random").eval()
    engine = TorchEngine(model, config.size, torch.empty(0, 0))
    with pytest.raises(ConfigError, match="OpenVINO computes other values than mambaad"):
        check_values(Zeros(), engine, "openvino", precision, drawn_images(config.size))


class Same:
    """A session with a model's own values, but for one output."""

    def __init__(self, engine, changed):
        self.engine = engine
        self.changed = changed

    def run(self, images):
        found = self.engine.observe(images)
        outputs = {
            "anomaly_map": np.stack([one.anomaly_map for one in found]),
            "score": np.array([one.score for one in found]),
            "scale_maps": np.stack([one.evidence.scale_maps for one in found]),
            "embedding": np.stack([one.evidence.embedding for one in found]),
        }
        if self.changed:
            outputs[self.changed] = outputs[self.changed] + 1e-2
        return outputs


@pytest.mark.parametrize("changed", ["anomaly_map", "score", "scale_maps", "embedding", None])
def test_each_output_is_compared(changed):
    torch.manual_seed(0)
    config = make_config({**LITE, "directions": 1})
    model = build_system(config, "random").eval()
    engine = TorchEngine(model, config.size, torch.empty(0, 0), keep_evidence=True)
    images = drawn_images(config.size)
    if changed is None:
        found = check_values(Same(engine, None), engine, "onnx", "float32", images)
        assert found["scale_maps"] == found["embedding"] == 0
        return
    with pytest.raises(ConfigError, match=r"differ by 0\.01, expected at most"):
        check_values(Same(engine, changed), engine, "onnx", "float32", images)


def test_a_runtime_that_fails_is_named_in_one_line():
    torch.manual_seed(0)
    config = make_config({**LITE, "directions": 1})
    model = build_system(config, "random").eval()
    engine = TorchEngine(model, config.size, torch.empty(0, 0))

    class Failing:
        def run(self, images):
            raise RuntimeError("a report\nof many lines\n")

    with pytest.raises(ConfigError, match=r"OpenVINO cannot run .* \(of many lines\);"):
        check_values(Failing(), engine, "openvino", "float32", drawn_images(config.size))
