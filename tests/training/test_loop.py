"""The loop: its loss, and when a GPU has too little memory or fails, or compilation does."""

import functools

import pytest
import torch

import mambaad
from mambaad.errors import RunError
from mambaad.inference.compiled import choose_compilation
from mambaad.inference.weights import load_model
from mambaad.models.mambaad import MambaAD
from mambaad.training import loop
from mambaad.training.loss import training_loss
from tests.conftest import SMALL
from tests.runs import read

SETTINGS = {**SMALL, "size": "32", "epochs": 1}


class Broken(torch.autograd.Function):
    """Fails in the backward, as the recording of a graph may."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


def fails_at_once(method):
    def call(*_):
        raise RuntimeError("no compiler\nis installed")

    return call


def fails_in_the_backward(method):
    def call(module, given):
        maps = method(module, given)
        return [Broken.apply(m) if m.requires_grad else m for m in maps]

    return call


@pytest.mark.parametrize("make", [fails_at_once, fails_in_the_backward])
def test_a_compilation_that_fails_leaves_training_as_without(
    parts, tmp_path, monkeypatch, capsys, make
):
    plain = mambaad.train(parts, tmp_path / "plain", **SETTINGS, compile="off")
    capsys.readouterr()
    monkeypatch.setattr(torch, "compile", lambda method, **_: make(method))
    run = mambaad.train(parts, tmp_path / "run", **SETTINGS, compile="default")
    said = [line for line in capsys.readouterr().err.splitlines() if "torch.compile" in line]
    assert len(said) == 1
    assert "continuing without it (--compile off)" in said[0]
    found, expected = (dict(read(load_model, r).named_parameters()) for r in (run, plain))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nOf the allocated memory ..."),
            r"the memory is too small for this training; lower --batch-size \(4\) or --size "
            r"\(32x32\), or give --precision bf16-mixed, "
            r"--cache-features off, or another --device",
        ),
        (
            RuntimeError("CUDA error: unspecified launch failure\nCompile with ..."),
            r"the GPU failed \(CUDA error: unspecified launch failure\); continue from the last "
            "epoch with --resume, elsewhere with --device cpu",
        ),
    ],
    ids=["memory", "lost"],
)
def test_what_a_gpu_may_raise_is_one_line_and_can_be_resumed(
    parts, tmp_path, monkeypatch, error, line
):
    plain = mambaad.train(parts, tmp_path / "plain", **SETTINGS)
    real, calls = MambaAD.reconstruct, []

    @functools.wraps(real)
    def fails(self, features):
        calls.append(None)
        if len(calls) == 2:
            raise error
        return real(self, features)

    with monkeypatch.context() as patch:
        patch.setattr(MambaAD, "reconstruct", fails)
        with pytest.raises(RunError, match=f"^{line}$"):
            mambaad.train(parts, tmp_path / "run", **SETTINGS)
    run = mambaad.train(parts, tmp_path / "run", resume=True)
    found, expected = (read(load_model, r).state_dict() for r in (run, plain))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_compilation_is_a_single_gpus_default():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert choose_compilation("auto", gpu) == "cuda-graphs"
    assert choose_compilation("auto", gpu, 2) == "off"
    assert choose_compilation("auto", cpu) == "off"
    assert choose_compilation("default", cpu) == "default"


def test_the_loose_loss_is_told_the_share_of_easy_cells_of_each_step(parts, tmp_path, monkeypatch):
    seen = []

    def noted(features, reconstructed, loss, loose, share):
        seen.append((loss, loose, float(share)))
        return training_loss(features, reconstructed, loss, loose, share)

    monkeypatch.setattr(loop, "training_loss", noted)
    settings = {**SMALL, "loss": "cosine", "loose_loss": "quantile", "epochs": 2, "size": 32}
    mambaad.train(parts, tmp_path / "run", **settings)
    # Six steps: the first tenth of the training ends within the first of them.
    assert [kind for *kind, _ in seen] == [["cosine", "quantile"]] * 6
    assert [share for *_, share in seen] == pytest.approx([0, *[0.9] * 5])
