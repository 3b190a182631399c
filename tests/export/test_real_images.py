"""Exports on real images with ImageNet's encoder, in every runtime that is there."""

import copy

import numpy as np
import pytest
import torch

from mambaad.artifacts.export_folder import GRAPHS
from mambaad.config import make_config
from mambaad.data.images import read_image, resize_image
from mambaad.export.graph import InferenceGraph
from mambaad.export.targets import WRITERS, Job
from mambaad.export.values import CLOSE, check_values
from mambaad.inference.exported.engine import SESSIONS
from mambaad.inference.packed.pack import pack
from mambaad.inference.torch_engine import TorchEngine
from mambaad.models.build import build_system

pytest.importorskip("onnxscript")

LITE = {"variant": "lite", "depths": (1, 1, 1, 1)}  # exporters take seconds for every block
CONFIG = {"encoder": "resnet18", "size": "96", "head": "residual", **LITE}
RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "torch-export": "torch"}


@pytest.fixture(scope="module")
def model():
    from tests.conftest import needs_shared

    weights = needs_shared("weights/resnet18_imagenet_to_layer3.safetensors")
    torch.manual_seed(0)
    found = build_system(make_config(CONFIG), weights)
    found.head.begin()
    return found.eval()


@pytest.fixture(scope="module")
def graph(model):
    return InferenceGraph(pack(copy.deepcopy(model)), (96, 96), torch.empty(0, 0))


@pytest.mark.parametrize("target", RUNTIMES)
def test_maps_and_scores_of_real_images_are_the_models(target, model, graph, real_data, tmp_path):
    pytest.importorskip(RUNTIMES[target])
    files = [next((c / "test").glob("*/*.jpg")) for c in sorted(real_data.iterdir())]
    assert len(files) == 6
    images = np.stack([resize_image(read_image(file), (96, 96)) for file in files])
    engine = TorchEngine(copy.deepcopy(model), (96, 96), torch.empty(0, 0))
    WRITERS[target, "float32"](Job(graph, tmp_path, "float32", None))
    contents = {name: bytearray((tmp_path / name).read_bytes()) for name in GRAPHS[target]}
    for kernel in ("off", "required") if target != "torch-export" else (None,):
        session = SESSIONS[target](contents, kernel)
        found = check_values(session, engine, target, "float32", images)
        assert found["maps"] <= CLOSE
        assert found["scores"] <= CLOSE
