from dataclasses import asdict

import pytest
import torch
from torch import nn

from mambaad.artifacts.tensors import save_tensors
from mambaad.errors import RunError
from mambaad.inference.weights import as_numpy
from mambaad.training.checkpoint import Position, load_checkpoint, save_checkpoint


def trained(width=3, steps=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, width)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def test_everything_comes_back(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model, optimizer = trained()
    position = Position(epoch=3, step=2, loss_sum=1.5, seconds=0.5, log=[{"epoch": 1}])
    save_checkpoint(path, model, optimizer, position)

    other, its_optimizer = trained(steps=1)
    assert load_checkpoint(path, other, its_optimizer) == position
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    # The optimizer's state too: the next step is the same.
    for m, o in ((model, optimizer), (other, its_optimizer)):
        o.zero_grad()
        m(torch.arange(15.0).view(5, 3).square()).square().sum().backward()
        o.step()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_states_of_the_optimizer_follow_the_weights_names(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model, optimizer = trained()
    save_checkpoint(path, model, optimizer, Position())
    other, _ = trained(steps=0)
    bias_first = sorted(other.parameters(), key=lambda p: p.ndim)
    grouped = torch.optim.AdamW([{"params": bias_first[:3]}, {"params": bias_first[3:]}], 0.1)
    load_checkpoint(path, other, grouped)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[ours]["exp_avg"], grouped.state[theirs]["exp_avg"])


def test_a_checkpoint_of_a_former_version_which_numbered_the_states(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model, optimizer = trained()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    save_tensors(path, as_numpy(tensors), asdict(Position(epoch=1)))
    other, its_optimizer = trained(steps=0)
    assert load_checkpoint(path, other, its_optimizer) == Position(epoch=1)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[ours]["exp_avg"], its_optimizer.state[theirs]["exp_avg"])


def test_of_another_model(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, *trained(width=4), Position())
    with pytest.raises(RunError, match="is of another model or version") as caught:
        load_checkpoint(path, *trained(width=3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 100])
def test_damaged(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="is damaged or absent"):
        load_checkpoint(path, *trained())


def test_the_next_epoch_starts_at_its_first_step_with_a_longer_log():
    position = Position(epoch=1, step=5, loss_sum=2.5, seconds=3.0, waited=1.0, log=[{"epoch": 1}])
    position.end_epoch({"epoch": 2})
    assert position == Position(epoch=2, log=[{"epoch": 1}, {"epoch": 2}])


def test_the_optimizers_state_is_laid_out_as_the_weights_are(tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def convolution(steps):
        model = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), 0.1)
        for _ in range(steps):
            model(torch.ones(1, 3, 4, 4)).square().sum().backward()
            optimizer.step()
        return model, optimizer

    model, optimizer = convolution(2)
    save_checkpoint(path, model, optimizer, Position())
    other, its_optimizer = convolution(0)
    load_checkpoint(path, other, its_optimizer)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for name, expected in optimizer.state[ours].items():
            found = its_optimizer.state[theirs][name]
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()  # AdamW's fused kernel refuses others
