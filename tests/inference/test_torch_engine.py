"""What the engine does when a GPU has too little memory, fails, or compiles something wrong;
and with a residual head."""

import copy
from itertools import count

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.errors import RunError
from mambaad.inference.compiled import is_compiled
from mambaad.inference.torch_engine import TorchEngine, load_engine
from mambaad.inference.weights import load_model
from mambaad.models.build import build_system
from tests.runs import read

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def compiler(monkeypatch):
    """Make ``torch.compile`` return what a function makes of a method."""

    def patch(make):
        monkeypatch.setattr(torch, "compile", lambda method, **_: make(method))

    return patch


def make_engine(run, *, batch_size, **options) -> TorchEngine:
    engine = read(load_engine, run, device="cpu", **options)
    engine.batch_size = batch_size
    return engine


def assert_close(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(ours.distances, theirs.distances, rtol=1e-3, atol=1e-4)
        assert ours.score == pytest.approx(theirs.score, rel=1e-3)


def test_smaller_batches_where_memory_is_too_small(trained_run, monkeypatch, capsys):
    engine = make_engine(trained_run, batch_size=4)
    expected = engine.observe(IMAGES)
    forward, sizes = engine.model.forward, []

    def in_little_memory(batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch))
        return forward(batch)

    monkeypatch.setattr(engine.model, "forward", in_little_memory)
    assert_close(engine.observe(IMAGES), expected)
    assert sizes == [1] * 5
    assert capsys.readouterr().err.splitlines() == [
        "the memory is too small: 2 images at a time now",
        "the memory is too small: 1 images at a time now",
    ]


def test_memory_that_is_too_small_for_one_image_is_one_line(trained_run, monkeypatch):
    engine = make_engine(trained_run, batch_size=1)

    def never(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.model, "forward", never)
    with pytest.raises(RunError, match="too small for an image of 64 x 64; end other programs"):
        engine.observe(IMAGES)


@pytest.mark.parametrize("fails_at", [0, 1])
def test_it_goes_on_on_the_cpu_when_the_gpu_fails(trained_run, monkeypatch, capsys, fails_at):
    expected = read(load_engine, trained_run, device="cpu").observe(IMAGES)
    engine = make_engine(trained_run, batch_size=2)
    engine._spare = read(load_model, trained_run)  # which it keeps where it computes on a GPU
    real, calls = engine.model.forward, count()

    def fails(batch):
        if next(calls) >= fails_at:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")
        return real(batch)

    monkeypatch.setattr(engine.model, "forward", fails)
    found = engine.observe(IMAGES)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.anomaly_map, theirs.anomaly_map)
    assert capsys.readouterr().err.splitlines() == [
        "the GPU failed (CUDA error: unspecified launch failure); going on on the CPU"
    ]
    assert engine.device == "cpu"
    assert engine.batch_size == 1


def test_in_bfloat16_a_gpu_that_fails_is_an_error(trained_run, monkeypatch):
    engine = make_engine(trained_run, batch_size=2)  # without a copy: its values would differ

    def fails(_):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(engine.model, "forward", fails)
    with pytest.raises(RunError, match=r"the GPU failed \(CUDA error: .* failure\); start again"):
        engine.observe(IMAGES)


def test_one_image_and_full_batches_are_all_that_is_compiled(trained_run, compiler):
    seen = []

    def watched(method):
        def call(model, batch):
            seen.append(len(batch))
            return method(model, batch)

        return call

    compiler(watched)
    engine = make_engine(trained_run, batch_size=4, compile="default")
    found = [*engine.observe(IMAGES), *engine.observe(IMAGES[:1]), *engine.observe(IMAGES[:3])]
    assert seen == [4, 1, 1, 4]
    plain = read(load_engine, trained_run, device="cpu")
    images = np.concatenate([IMAGES, IMAGES[:1], IMAGES[:3]])
    assert_close(found, plain.observe(images))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda method: lambda *_: 1 / 0, "division by zero"),
        (lambda method: lambda m, x: spoilt(method(m, x)), "its maps differ by up to"),
    ],
    ids=["an error", "wrong values"],
)
def test_a_compiler_that_fails_is_done_without(trained_run, compiler, capsys, make, reason):
    compiler(make)
    engine = make_engine(trained_run, batch_size=1, compile="default")
    found = engine.observe(IMAGES)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"torch.compile failed ({reason}")
    assert line.endswith("continuing without it (--compile off)")
    assert not is_compiled(engine.model)
    assert_close(found, read(load_engine, trained_run, device="cpu").observe(IMAGES))


def spoilt(maps):
    maps = copy.deepcopy(maps)
    maps.reconstructed[1][0, 0, 0, 0] += 10
    return maps


def test_a_residual_head_adds_to_the_map_and_not_to_the_score():
    torch.manual_seed(0)
    settings = {"encoder": "resnet18", "variant": "lite", "head": "residual"}
    model = build_system(make_config(settings), "random").eval()
    model.head.begin()
    plain = copy.deepcopy(model)
    plain.head = None
    means = torch.zeros(0, sum(model.encoder.channels))
    for image in IMAGES[:2]:
        (ours,), (theirs,) = (
            TorchEngine(copy.deepcopy(m), (64, 64), means).observe(image[None])
            for m in (model, plain)
        )
        assert theirs.error_map is None
        assert ours.score == theirs.score == ours.scored_map.max()
        assert np.array_equal(ours.error_map, theirs.scored_map)
        added = ours.anomaly_map - ours.error_map
        assert (added > 0).all()
        assert added.max() < 1 / 3
