"""What needs a GPU: its values, its recorded graphs, its memory, and several processes on it."""

import csv
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.config import make_config
from mambaad.errors import RunError
from mambaad.inference.compiled import is_compiled
from mambaad.inference.recorded import WARM_UP, Recorder
from mambaad.inference.torch_engine import load_engine
from mambaad.models.mambaad import MambaAD
from mambaad.ops import order_tables
from mambaad.training.loss import LOSSES
from tests.conftest import SMALL
from tests.runs import read

pytestmark = [
    pytest.mark.usefixtures("users_checks_only"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    reset_compiler()
    order_tables._tables.clear()
    yield
    reset_compiler()


def reset_compiler():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch 2.11, by itself
        torch.compiler.reset()


@torch.library.custom_op("mambaad_tests::synchronise", mutates_args=())
def synchronise(x: torch.Tensor) -> torch.Tensor:
    """A copy; waits for the GPU, which nothing may do while a graph is recorded."""
    torch.cuda.synchronize()
    return x.clone()


@synchronise.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def assert_close(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("how", ["off", "default", "cuda-graphs"])
def test_a_gpu_gives_what_the_cpu_gives(trained_run, how, capsys):
    expected = read(load_engine, trained_run, device="cpu").observe(IMAGES)
    engine = read(load_engine, trained_run, device="cuda", compile=how)
    engine.batch_size = 4
    for turn in range(6):  # from the fourth time on it is a recorded graph
        order = np.roll(np.arange(len(IMAGES)), turn)
        assert_close(engine.observe(IMAGES[order]), [expected[i] for i in order])
    assert is_compiled(engine.model) == (how == "default")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("cache", ["off", "memory", "device"])
def test_training_with_recorded_graphs(parts, tmp_path, cache, capsys):
    settings = {**SMALL, "cache_features": cache, "epochs": 3}
    plain = mambaad.train(parts, tmp_path / "plain", **settings, compile="off")
    order_tables._tables.clear()
    run = mambaad.train(parts, tmp_path / "run", **settings)  # the default of a GPU
    assert "could not be recorded" not in capsys.readouterr().err
    ours, theirs = (read(read_log, r)[-1]["loss"] for r in (run, plain))
    assert ours == pytest.approx(theirs, rel=0.1)


def test_a_training_on_a_cpu_is_resumed(parts, tmp_path, monkeypatch):
    settings = {**SMALL, "epochs": 3}
    real, epochs = LOSSES[make_config(settings).loss], []

    def interrupted(*arguments):
        epochs.append(None)
        if len(epochs) == 5:
            raise torch.OutOfMemoryError("out of memory")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, make_config(settings).loss, interrupted)
        with pytest.raises(RunError, match="is too small"):
            mambaad.train(parts, tmp_path / "run", **settings, device="cpu")
    run = mambaad.train(parts, tmp_path / "run", resume=True)
    whole = mambaad.train(parts, tmp_path / "whole", **settings, device="cpu")
    ours, theirs = (read(read_log, r)[-1]["loss"] for r in (run, whole))
    assert ours == pytest.approx(theirs, rel=0.1)


def test_a_recording_that_fails_leaves_the_process_usable(trained_run, monkeypatch, capsys):
    real = MambaAD.reconstruct

    def waits(self, features):
        noise = torch.nn.functional.dropout(torch.ones_like(features[0]), 0.5, True)
        return real(self, [synchronise(features[0]) + 0 * noise, *features[1:]])

    expected = read(load_engine, trained_run, device="cuda", compile="off").observe(IMAGES)
    monkeypatch.setattr(MambaAD, "reconstruct", waits)
    engine = read(load_engine, trained_run, device="cuda", compile="cuda-graphs")
    for _ in range(6):
        assert_close(engine.observe(IMAGES), expected)
    assert "the CUDA graph could not be recorded (" in capsys.readouterr().err
    assert torch.rand(3, device="cuda").max() < 1  # raised before the random state was replaced
    torch.cuda.empty_cache()  # raised before the recording's pool was ended


def test_a_recording_draws_anew_and_leaves_new_gradients():
    gpu = torch.device("cuda", 0)
    weight = torch.nn.Parameter(torch.ones(8, device=gpu))

    def step(x):
        weight.grad = None
        loss = torch.nn.functional.dropout(weight * x, 0.5, True).square().sum()
        loss.backward()
        return (loss.detach(),)

    recorder = Recorder(step, gpu, [weight])
    for turn in range(2 * WARM_UP + 6):
        x = torch.randn(4 + turn % 2, 8, device=gpu)  # two shapes in turn
        torch.manual_seed(turn)
        (expected,), gradient = step(x), weight.grad
        torch.manual_seed(turn)
        (found,) = recorder(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(weight.grad, gradient)
    assert len(recorder._recordings) == 2


@pytest.fixture
def little_memory():
    """The GPU with 64 MiB more than what is in use."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_smaller_batches_where_memory_is_too_small(trained_run, capsys):
    images = np.concatenate([IMAGES] * 60)
    engine = read(load_engine, trained_run, device="cuda", compile="off")
    engine.batch_size = len(images)
    found = engine.observe(images)
    assert engine.batch_size < len(images)
    assert "is too small: " in capsys.readouterr().err
    assert_close(found[:5], read(load_engine, trained_run, device="cpu").observe(IMAGES))


@pytest.mark.usefixtures("little_memory")
def test_a_training_that_is_too_large_is_one_line(parts, tmp_path):
    settings = {**SMALL, "size": "512", "batch_size": 12, "directions": 8, "variant": "base"}
    with pytest.raises(RunError, match=r"GPU's memory \(.* GiB, .* free\) is too small for this"):
        mambaad.train(parts, tmp_path / "run", **settings, compile="off")


def test_two_processes_at_once_on_one_gpu(trained_run, parts, tmp_path):
    main = "from mambaad.cli.app import main; main()"
    command = [sys.executable, "-c", main, "predict", trained_run, parts]
    command += ["--device", "cuda", "--compile", "off", "--out"]
    processes = [subprocess.Popen([*command, tmp_path / name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    scores = []
    for name in "ab":
        with (tmp_path / name / "predictions.csv").open() as file:
            scores.append([float(row["score"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*scores, rtol=1e-3)


def test_without_the_kernel_it_is_slower_and_the_same(trained_run, tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from mambaad.inference.torch_engine import load_engine\n"
        "from mambaad.artifacts.snapshot import opened\n"
        "with opened(sys.argv[1]) as run:\n"
        "    engine = load_engine(run, device='cuda', compile='off')\n"
        "images = np.load(sys.argv[2])\n"
        "np.save(sys.argv[3], [o.anomaly_map for o in engine.observe(images)])\n"
    )
    np.save(tmp_path / "images.npy", IMAGES)
    files = [tmp_path / "images.npy", tmp_path / "maps.npy"]
    environment = {**os.environ, "MAMBAAD_KERNEL": "torch"}
    subprocess.run([sys.executable, "-c", code, trained_run, *files], env=environment, check=True)
    expected = read(load_engine, trained_run, device="cuda", compile="off").observe(IMAGES)
    for found, theirs in zip(np.load(files[1]), expected, strict=True):
        np.testing.assert_allclose(found, theirs.anomaly_map, rtol=0.01, atol=1e-3)
