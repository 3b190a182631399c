"""The training of the residual head."""

import re
import signal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mambaad.artifacts.manifest import HEAD_CHECKPOINT
from mambaad.artifacts.run_folder import create_run, new_folder
from mambaad.config import make_config
from mambaad.data.images import read_image, resize_image
from mambaad.data.layouts import read_data
from mambaad.data.synthetic import anomalies
from mambaad.models.build import build_system
from mambaad.models.head import ResidualHead
from mambaad.training import head as training
from mambaad.training.head import ResizedImages, fit_head, segmentation_loss, spoiled_batch
from tests.runs import has

CPU = torch.device("cpu")
SETTINGS = {
    **{"encoder": "resnet18", "variant": "lite", "head": "residual", "size": 32},
    **{"head_steps": 4, "kernels": (), "directions": 1},
}


@pytest.fixture
def samples(parts):
    return [sample for c in read_data(parts) for sample in c.train]


def train(out, samples, **changes):
    config = make_config({**SETTINGS, **changes})
    torch.manual_seed(0)
    model = build_system(config, "random")
    if not out.exists():
        with new_folder(out):
            create_run(out, config, {"classes": {}, "fingerprint": None})
    return model, fit_head(config, model, samples, out, CPU)


def test_the_loss_is_dice_and_cross_entropy():
    generator = np.random.default_rng(0)
    logits, wanted = generator.normal(size=(2, 3, 4)), generator.random((2, 3, 4))
    p = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (p * wanted).sum() + 1) / ((p**2).sum() + (wanted**2).sum() + 1)
    entropy = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p)).mean()
    found = segmentation_loss(torch.tensor(logits), torch.tensor(wanted))
    assert float(found) == pytest.approx(dice + entropy, rel=1e-9)


def test_a_step_has_six_spoiled_images_of_eight_and_depends_on_its_number_alone(samples):
    images = ResizedImages(samples, (48, 64))
    batch, again, other = (spoiled_batch(images, 1, step) for step in (5, 5, 6))
    assert batch.images.shape == (8, 48, 64, 3)
    assert [bool(mask.any()) for mask in batch.masks] == [True] * 6 + [False] * 2
    assert np.array_equal(batch.images, again.images)
    assert not np.array_equal(batch.images, other.images)
    good = {resize_image(read_image(s.path), (48, 64)).tobytes() for s in samples}
    assert [image.tobytes() in good for image in batch.images] == [False] * 6 + [True] * 2


def test_nothing_but_the_head_changes(samples, tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    before = build_system(make_config(SETTINGS), "random").state_dict()
    monkeypatch.setattr(ResidualHead, "silence", lambda head: None)  # so short, it does not help
    model, log = train(tmp_path / "run", samples)
    assert not any(p.requires_grad for p in model.head.parameters())
    assert re.search(r"anomalies: \d+\.\d without the head, \d+\.\d with", capsys.readouterr().err)
    for name, tensor in model.state_dict().items():
        is_head = name.startswith("head.")
        same = torch.equal(tensor, before[name])
        assert same != is_head or name.endswith("num_batches_tracked"), name
    assert [record["step"] for record in log] == [4, 4]
    assert log[-1]["used"] is False


def test_interrupted_and_resumed_it_is_the_same_to_the_bit(samples, tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole", samples)
    step = training._train_step

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training, "_train_step", interrupted)
        _, log = train(tmp_path / "cut", samples)
    assert log is None
    assert has(tmp_path / "cut", HEAD_CHECKPOINT)
    resumed, log = train(tmp_path / "cut", samples)
    assert [record["step"] for record in log] == [4, 4]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_it_learns_to_segment_anomalies_that_it_has_not_seen(
    samples, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(anomalies, "_FAINTEST", 1.0)  # faint ones take more steps
    train(tmp_path / "run", samples, head_steps=60)
    said = re.search(r"anomalies: (.*) without the head, (.*) with", capsys.readouterr().err)
    without, with_head = map(float, said.groups())
    assert with_head > 1.5 * without


def test_a_head_that_does_not_help_is_silenced(samples, tmp_path, monkeypatch, capsys):
    def misled(model, optimizer, batch, device):
        optimizer.zero_grad()
        torch.nn.init.constant_(model.head.classify.bias, 0.0)
        torch.nn.init.zeros_(model.head.classify.weight)
        # Wherever the reconstruction is worst, it now says that all is good.
        model.head.register_forward_hook(
            lambda head, given, logits: 50 * F.cosine_similarity(given[0][0], given[1][0], dim=1)
        )
        return 1.0

    monkeypatch.setattr(training, "_train_step", misled)
    model, log = train(tmp_path / "run", samples, head_steps=1)
    assert log[-1]["used"] is False
    said = capsys.readouterr().err
    assert "hardly better, so it is silenced" in said
    assert not model.head.classify.weight.any()
    assert float(model.head.classify.bias) == -12


def test_too_little_memory_costs_the_head_alone(samples, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "_train_step", full)
    model, log = train(tmp_path / "run", samples)
    assert "is too small for its 8 images a step, so it is silenced" in capsys.readouterr().err
    assert log[-1]["used"] is False
    assert not any(p.requires_grad for p in model.head.parameters())


def test_a_loss_that_is_no_number_costs_the_head_alone(samples, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "_train_step", lambda *arguments: float("nan"))
    model, _ = train(tmp_path / "run", samples)
    assert "its loss became nan at step 1, so it is silenced" in capsys.readouterr().err
    assert not model.head.classify.weight.any()


def test_images_are_decoded_once_while_there_is_room(samples, monkeypatch):
    monkeypatch.setattr(training, "KEPT", 2 * 3 * 8 * 8)
    images = ResizedImages(samples, (8, 8))
    assert len(images) == len(samples)
    first = [images[index] for index in range(3)]
    again = [images[index] for index in range(3)]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
