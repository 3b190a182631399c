import functools

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.manifest import PROTOTYPES, WEIGHTS
from mambaad.artifacts.run_folder import read_log
from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.inference.compute import check_compilation
from mambaad.models.build import build_model, build_system
from mambaad.models.mixers.table import MIXERS
from mambaad.ops.selective_scan import selective_scan
from mambaad.recipes import SYSTEMS, UNUSED_BY_MIXER
from tests.conftest import SMALL
from tests.ops.conftest import make_inputs
from tests.runs import read, tensors

pytestmark = pytest.mark.usefixtures("users_checks_only")

TINY = {"depths": (1, 1, 1, 1), "directions": 2, "states": 2, "expand": 1, "kernels": (3,)}


@pytest.fixture(autouse=True)
def compiler_from_the_start():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def all_maps(found):
    return [*found.features, *found.reconstructed]


def whole_graph(function):
    """Compiled without a break, by everything but the slow making of kernels."""
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_the_model_is_one_graph_at_a_size_of_its_own():
    torch.manual_seed(0)
    model = build_model("resnet18", "random", **TINY).eval()
    compiled = whole_graph(model)
    with torch.inference_mode():
        image = torch.randn(1, 3, 32, 96)
        found, expected = compiled(image), model(image)
        for ours, theirs in zip(*map(all_maps, (found, expected)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mixer", MIXERS)
def test_gradients_are_those_of_the_model(mixer):
    torch.manual_seed(0)
    used = {name: value for name, value in TINY.items() if name not in UNUSED_BY_MIXER[mixer]}
    model = build_model("resnet18", "random", **used, mixer=mixer).train()
    maps = [torch.randn(2, c, s, s) for c, s in ((64, 16), (128, 8), (256, 4))]

    def gradients(reconstruct):
        torch.manual_seed(1)  # what drop path leaves out is the same
        model.zero_grad()
        sum(y.square().mean() for y in reconstruct(maps)).backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    expected, found = gradients(model.reconstruct), gradients(whole_graph(model.reconstruct))
    assert found.keys() == expected.keys()
    for name, true in expected.items():
        # Of what comes before a norm only rounding is left.
        limit = 1e-3 * float(true.abs().max()) + 1e-6
        assert (found[name] - true).abs().max() <= limit, name


def test_training_and_inspecting_compiled(parts, tmp_path, monkeypatch):
    settings = {**SMALL, "epochs": 1, "size": "32", **TINY}
    plain = mambaad.train(parts, tmp_path / "plain", **settings)
    # The slow making of kernels, two minutes of it, has a test of its own.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    run = mambaad.train(parts, tmp_path / "run", **settings, compile="default")
    ours, theirs = (read(read_log, r)[0]["loss"] for r in (run, plain))
    assert ours == pytest.approx(theirs, rel=0.02)  # three steps at a rate that amplifies rounding
    for name in (WEIGHTS, PROTOTYPES):  # they hold the same tensors
        assert tensors(run, name)[0].keys() == tensors(plain, name)[0].keys()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = mambaad.Inspector(plain).inspect(pixels)
    found = mambaad.Inspector(plain, compile="default").inspect(pixels)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, rtol=1e-3, atol=1e-4)


def test_kernels_are_made_around_the_scan():
    inputs = make_inputs(length=6)

    def gated(**inputs):
        return torch.nn.functional.silu(selective_scan(**inputs)) * inputs["u"]

    torch.testing.assert_close(torch.compile(gated)(**inputs), gated(**inputs))


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "mambaad"])
def test_other_systems_are_one_graph_too(name):
    config = make_config({"system": name, "encoder": "resnet18", "size": "128"})
    model = build_system(config, "random").eval()
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        found, expected = whole_graph(model)(image), model(image)
    for ours, theirs in zip(found.reconstructed, expected.reconstructed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_way_to_compile_that_there_is_not():
    with pytest.raises(
        ConfigError, match="--compile: expected one of auto, off, default, cuda-graphs, got 'fast'"
    ):
        check_compilation("fast")
