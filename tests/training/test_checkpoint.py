"""Checkpoints: everything comes back, and nothing that is not of this model and this training."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from torch import nn

from mambaad.artifacts.manifest import CHECKPOINT
from mambaad.artifacts.run_folder import check_epochs
from mambaad.artifacts.snapshot import opened
from mambaad.artifacts.tensors import tensors_content
from mambaad.errors import RunError
from mambaad.inference.weights import as_numpy
from mambaad.training.checkpoint import (
    Position,
    check_position,
    checkpoint_content,
    load_checkpoint,
)
from tests.runs import change, content, stored


def trained(width=3, steps=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, width)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def saved(folder, model, optimizer, position=None):
    change(folder, {CHECKPOINT: checkpoint_content(model, optimizer, position or Position())})
    return folder


def loaded(folder, model, optimizer):
    with opened(folder) as run:
        content, name = run.read(CHECKPOINT), run.name(CHECKPOINT)
    return load_checkpoint(content, name, model, optimizer)


def test_everything_comes_back(tmp_path):
    model, optimizer = trained()
    position = Position(epoch=3, step=2, loss_sum=1.5, seconds=0.5, log=[{"epoch": 1}])
    saved(tmp_path, model, optimizer, position)

    other, its_optimizer = trained(steps=1)
    assert loaded(tmp_path, other, its_optimizer) == position
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    # The optimizer's state too: the next step is the same.
    for m, o in ((model, optimizer), (other, its_optimizer)):
        o.zero_grad()
        m(torch.arange(15.0).view(5, 3).square()).square().sum().backward()
        o.step()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_before_the_first_step_there_is_no_state(tmp_path):
    saved(tmp_path, *trained(steps=0))
    other, its_optimizer = trained(steps=0)
    assert loaded(tmp_path, other, its_optimizer) == Position()
    assert not its_optimizer.state


def test_states_of_the_optimizer_follow_the_weights_names(tmp_path):
    model, optimizer = trained()
    saved(tmp_path, model, optimizer)
    other, _ = trained(steps=0)
    bias_first = sorted(other.parameters(), key=lambda p: p.ndim)
    grouped = torch.optim.AdamW([{"params": bias_first[:3]}, {"params": bias_first[3:]}], 0.1)
    loaded(tmp_path, other, grouped)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[ours]["exp_avg"], grouped.state[theirs]["exp_avg"])


def test_a_checkpoint_of_a_former_version_which_numbered_the_states(tmp_path):
    model, optimizer = trained()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    about = asdict(Position(epoch=1))
    del about["waited"]
    change(tmp_path, {CHECKPOINT: tensors_content(as_numpy(tensors), about)})
    other, its_optimizer = trained(steps=0)
    assert loaded(tmp_path, other, its_optimizer) == Position(epoch=1)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[ours]["exp_avg"], its_optimizer.state[theirs]["exp_avg"])


def test_of_another_model(tmp_path):
    saved(tmp_path, *trained(width=4))
    with pytest.raises(RunError, match="is of another model or version") as caught:
        loaded(tmp_path, *trained(width=3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damaged", [b"", b"\x80\x04.", b"\xff" * 100])
def test_damaged(tmp_path, damaged):
    change(tmp_path, {CHECKPOINT: damaged})
    with pytest.raises(RunError, match="is damaged, or no safetensors file"):
        loaded(tmp_path, *trained())


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path):
    path = stored(saved(tmp_path, *trained()), CHECKPOINT)
    sound = path.read_bytes()
    for place in np.random.default_rng(0).integers(len(sound) * 8, size=40).tolist():
        flipped = bytearray(sound)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        model, optimizer = trained(steps=0)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(RunError, match=rf"{path.name} is not what .*manifest\.json lists"):
            loaded(tmp_path, model, optimizer)
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def without(start):
    return lambda tensors: {k: t for k, t in tensors.items() if not k.startswith(start)}


def changed(name, change_it):
    return lambda tensors: {**tensors, name: change_it(tensors[name])}


@pytest.mark.parametrize(
    ("change_tensors", "complaint"),
    [
        (without("optimizer.exp_avg.0.weight"), "exp_avg is absent, expected float32 of shape"),
        (without("optimizer.step.1.bias"), "state of 1.bias: step is absent"),
        (without("model.0.weight"), "0.weight is absent"),
        (lambda t: {**t, "model.x": np.zeros(1)}, "x is float64 of shape"),
        (lambda t: {**t, "x": np.zeros(1)}, "x is unknown"),
        (lambda t: {**t, "optimizer.exp_avg.x": np.zeros(1)}, "another model"),
        (lambda t: {**t, "optimizer.x.0.weight": np.zeros(1)}, "state of 0.weight: x is float64"),
        (changed("optimizer.exp_avg.0.weight", np.ravel), r"exp_avg is float32 of shape \(9,\)"),
        (changed("optimizer.exp_avg_sq.0.bias", lambda t: t[:1]), "exp_avg_sq is float32"),
        (changed("optimizer.exp_avg_sq.0.bias", lambda t: -t - 1), "squares is negative"),
        (changed("optimizer.exp_avg.0.bias", lambda t: t.astype(float)), "exp_avg is float64"),
        (changed("optimizer.exp_avg.0.bias", lambda t: t * np.nan), "bias is not finite"),
        (changed("model.0.bias", lambda t: t * np.inf), "bias is not finite"),
        (changed("optimizer.step.0.bias", lambda t: t + 1), "not of one step"),
        (changed("optimizer.step.0.bias", lambda t: t.reshape(1)), r"step is float32 of shape"),
    ],
)
def test_tensors_that_are_not_this_models_are_refused(tmp_path, change_tensors, complaint):
    saved(tmp_path, *trained())
    tensors = change_tensors(load(content(tmp_path, CHECKPOINT)))
    change(tmp_path, {CHECKPOINT: tensors_content(tensors, asdict(Position()))})
    with pytest.raises(RunError, match=complaint) as caught:
        loaded(tmp_path, *trained(steps=0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "about",
    [
        {"epoch": -5},
        {"step": -1},
        {"epoch": 1.5},
        {"epoch": "1"},
        {"epoch": True},
        {"loss_sum": "much"},
        {"loss_sum": None},
        {"seconds": -1.0},
        {"log": {}},
        {"log": [1]},
        {"colour": 1},
    ],
)
def test_a_position_that_is_none_is_refused(tmp_path, about):
    saved(tmp_path, *trained())
    tensors = load(content(tmp_path, CHECKPOINT))
    change(tmp_path, {CHECKPOINT: tensors_content(tensors, {**asdict(Position()), **about})})
    with pytest.raises(RunError, match="is of another model or version") as caught:
        loaded(tmp_path, *trained(steps=0))
    assert "\n" not in str(caught.value)


def record(epoch, **more):
    return {"epoch": epoch, "loss": 1.0, "lr": 0.1, "images_per_s": 9, "seconds": 0.5, **more}


@pytest.mark.parametrize(
    ("position", "complaint"),
    [
        (Position(0, 2), None),
        (Position(1, 0, log=[record(1)]), "optimizer's state is of step 2 of all"),
        (Position(99, 0), "training has 4 epochs of 5 steps"),
        (Position(0, 10**9), "training has 4 epochs of 5 steps"),
        (Position(4, 1), "training has 4 epochs of 5 steps"),
        (Position(0, 3), "optimizer's state is of step 2 of all"),
        (Position(0, 2, log=[record(1)]), "its log has 1 records, expected 0"),
    ],
)
def test_a_position_outside_the_training_is_refused(position, complaint):
    arguments = (position, "run/checkpoint", trained(steps=2)[1])
    limits = {"epochs": 4, "steps": 5, "records": position.epoch, "check_log": check_epochs}
    if complaint is None:
        check_position(*arguments, **limits)
        return
    with pytest.raises(RunError, match=f"run/checkpoint is damaged .*{complaint}"):
        check_position(*arguments, **limits)


@pytest.mark.parametrize(
    "wrong",
    [{"epoch": 2}, {"loss": math.nan}, {"loss": "1"}, {"seconds": -1}, {"seconds": None}, 3],
)
def test_a_log_that_is_none_is_refused(wrong):
    log = [record(1) | wrong if isinstance(wrong, dict) else wrong]
    with pytest.raises(RunError, match="is damaged"):
        check_position(
            Position(1, 0, log=log),
            "run/checkpoint",
            trained(steps=5)[1],
            epochs=4,
            steps=5,
            records=1,
            check_log=check_epochs,
        )


def test_the_next_epoch_starts_at_its_first_step_with_a_longer_log():
    position = Position(epoch=1, step=5, loss_sum=2.5, seconds=3.0, waited=1.0, log=[{"epoch": 1}])
    position.end_epoch({"epoch": 2})
    assert position == Position(epoch=2, log=[{"epoch": 1}, {"epoch": 2}])


def test_the_optimizers_state_is_laid_out_as_the_weights_are(tmp_path):
    def convolution(steps):
        model = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), 0.1)
        for _ in range(steps):
            model(torch.ones(1, 3, 4, 4)).square().sum().backward()
            optimizer.step()
        return model, optimizer

    model, optimizer = convolution(2)
    saved(tmp_path, model, optimizer)
    other, its_optimizer = convolution(0)
    loaded(tmp_path, other, its_optimizer)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for name, expected in optimizer.state[ours].items():
            found = its_optimizer.state[theirs][name]
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()  # AdamW's fused kernel refuses others
