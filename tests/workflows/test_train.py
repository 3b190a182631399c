import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mambaad
from mambaad import files
from mambaad.artifacts.manifest import CHECKPOINT, PROTOTYPES, WEIGHTS
from mambaad.artifacts.run_folder import read_log
from mambaad.errors import ConfigError, DataError, NonFiniteLossError, RunError
from mambaad.inference.weights import as_torch
from mambaad.workflows.train import Interrupted
from tests.conftest import SMALL, make_parts
from tests.runs import change, has, plain_names, read, tensors
from tests.workflows.in_process import Training


def weights(run: Path) -> dict[str, torch.Tensor]:
    return as_torch(tensors(run)[0])


def assert_same_weights(run: Path, other: Path) -> None:
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def send_when(there_is: Callable[[], Any], number: int) -> None:
    """Send this process a signal as soon as there is something."""

    def send() -> None:
        while not there_is():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_two_runs_with_one_seed_give_the_same_weights(parts, trained_run, tmp_path):
    assert_same_weights(mambaad.train(parts, tmp_path / "again", **SMALL), trained_run)


def test_another_seed_gives_other_weights(parts, trained_run, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", **SMALL, seed=7)
    ours, theirs = weights(run), weights(trained_run)
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_loss_falls(trained_run):
    log = read(read_log, trained_run)
    assert log[1]["loss"] < log[0]["loss"]


def test_the_learning_rate_drops_after_its_share_of_the_epochs(parts, tmp_path):
    settings = {**SMALL, "epochs": 4, "lr_drop_after": 0.5, "size": "32", "lr": 0.002}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    log = read(read_log, run)
    assert [record["lr"] for record in log] == pytest.approx([0.002, 0.002, 0.0002, 0.0002])


@pytest.mark.parametrize("step", [4, 8])  # of the second epoch, and of the residual head
def test_the_fast_recipe_trains_and_resumes_to_the_same_weights(parts, tmp_path, at_step, step):
    settings = {**SMALL, "recipe": "fast", "size": "32", "head_steps": 3}
    whole = mambaad.train(parts, tmp_path / "whole", **settings)
    log = read(read_log, whole)
    # Cosine distances of three scales, each 0 to 2; squared errors start above 60.
    assert log[1]["loss"] < log[0]["loss"] < 6
    with at_step(step, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, tmp_path / "cut", **settings)
    mambaad.train(parts, tmp_path / "cut", resume=True)
    assert any(name.startswith("head.") for name in weights(whole))
    assert not list((tmp_path / "cut").glob("*checkpoint*"))
    assert_same_weights(tmp_path / "cut", whole)


def test_what_a_system_measured_before_its_training_outlasts_an_interruption(
    parts, tmp_path, at_step
):
    settings = {"system": "uniad", "recipe": "fast", "size": "32x128", "epochs": 2}
    settings |= {"encoder": "resnet18", "encoder_weights": "random"}
    whole = mambaad.train(parts, tmp_path / "whole", **settings)
    assert weights(whole)["mean"].abs().max() > 0
    with at_step(2, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, tmp_path / "cut", **settings)
    mambaad.train(parts, tmp_path / "cut", resume=True)
    assert_same_weights(tmp_path / "cut", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(
    parts, trained_run, tmp_path, number, at_step
):
    run = tmp_path / "run"
    command = re.escape(f"mambaad train {parts} --out {run} --resume")
    interrupted = pytest.raises(Interrupted, match=f"interrupted; resume with: {command}$")
    with at_step(5, lambda: signal.raise_signal(number)), interrupted:  # in the second epoch
        mambaad.train(parts, run, **SMALL)
    assert has(run, CHECKPOINT)
    assert len(read(read_log, run)) == 1

    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)
    assert not has(run, CHECKPOINT)
    assert len(read(read_log, run)) == 2


def end_at_once():
    raise SystemExit  # as a kill, nothing of the training goes on


@pytest.mark.parametrize("step", [2, 4, 6])  # of three an epoch
def test_ended_anywhere_and_resumed_is_the_same_as_uninterrupted(
    parts, trained_run, tmp_path, step, at_step
):
    run = tmp_path / "run"
    with at_step(step, end_at_once), pytest.raises(SystemExit):
        mambaad.train(parts, run, **SMALL)
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_and_resumed_in_another_process_is_the_same(parts, trained_run, tmp_path):
    run = tmp_path / "run"
    training = Training(parts, run, **SMALL)
    training.wait_for_step(4)  # in the middle of the second epoch
    training.kill()
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)


def test_killed_at_the_very_end_and_resumed(parts, trained_run, tmp_path, monkeypatch):
    def killed(*args):
        raise SystemExit

    run = tmp_path / "run"

    def write_text(path, text):
        if '"generation": 4' in text:
            raise SystemExit  # the last epoch's files are written, their manifest is not
        files.write_text(path, text)

    with monkeypatch.context() as patched:
        patched.setattr("mambaad.artifacts.generations.write_text", write_text)
        with pytest.raises(SystemExit):
            mambaad.train(parts, run, **SMALL)
    assert len(read(read_log, run)) == SMALL["epochs"] - 1
    with monkeypatch.context() as patched:
        patched.setattr("mambaad.training.finish.measure_prototypes", killed)
        with pytest.raises(SystemExit):
            mambaad.train(parts, run, resume=True)
    (run / ".0123.mambaad-tmp").write_bytes(b"half a checkpoint")
    monkeypatch.setattr(files, "_SWEPT", {})  # as in another process
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)
    assert plain_names(run) == plain_names(trained_run)


def test_while_another_writes_a_run_it_is_left_alone(parts, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    held, done = threading.Event(), threading.Event()

    def hold():
        with files.locked(run):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    try:
        with pytest.raises(RunError, match="is being written by another mambaad process"):
            mambaad.train(parts, run, resume=True)
        assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before
    finally:
        done.set()
        thread.join()


def test_a_resumed_run_needs_no_encoder_file(parts, tmp_path, at_step):
    run, file = tmp_path / "run", tmp_path / "encoder.pth"
    encoder = mambaad.build_model("resnet18", "random").encoder.backbone
    torch.save(encoder.state_dict(), file)
    with at_step(2, end_at_once), pytest.raises(SystemExit):  # in the first epoch already
        mambaad.train(parts, run, **{**SMALL, "encoder_weights": str(file)})
    file.unlink()
    mambaad.train(parts, run, resume=True)
    assert torch.equal(
        weights(run)["encoder.backbone.conv1.weight"], encoder.state_dict()["conv1.weight"]
    )


def test_a_finished_run_has_nothing_to_resume(parts, trained_run, tmp_path, capsys):
    run = shutil.copytree(trained_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    assert mambaad.train(parts, run, resume=True) == run
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before
    assert "is finished" in capsys.readouterr().err


# Normalisation follows these directly and takes any constant away again: their gradients are
# rounding errors, of which Adam makes steps of the learning rate, up or down.
WITHOUT_EFFECT = re.compile(r"\.local_branches\.\d+\.(before|after)\.bias|^fusion\.\w+\.0\.bias")


def test_two_processes_train_like_one(parts, tmp_path):
    # One step, so that rounding is not amplified; and weights too, since a step that is done twice
    # has the same loss.
    settings = {**SMALL, "epochs": 1, "batch_size": 12, "lr": 0.01}
    runs = [mambaad.train(parts, tmp_path / str(d), **settings, devices=d) for d in (1, 2)]
    losses = [read(read_log, run)[0]["loss"] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    ours, theirs = (weights(run) for run in runs)
    for key, one in ours.items():
        if key.endswith("num_batches_tracked"):
            assert theirs[key] == one
        elif key.endswith(("running_mean", "running_var")):
            assert torch.allclose(theirs[key], one, rtol=1e-4, atol=1e-5), key
        elif WITHOUT_EFFECT.search(key):
            assert (theirs[key] - one).abs().max() < 2.01 * settings["lr"], key
        else:
            # Adam's first step moves every weight by the learning rate, up or down, and only for
            # gradients that are rounding errors may the two disagree: below 1 % of a tensor here,
            # or one of a few dozen values.
            assert ((theirs[key] - one).abs() > 1e-4).float().mean() < 0.05, key
    assert has(runs[1], PROTOTYPES)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_interrupted_and_resumed_have_the_losses_of_two_and_of_one(parts, tmp_path):
    run, settings = tmp_path / "run", {**SMALL, "epochs": 3, "lr": 0.0001}
    send_when(lambda: list(run.glob("log-*.jsonl")), signal.SIGTERM)
    with pytest.raises(Interrupted):
        mambaad.train(parts, run, **settings, devices=2)
    assert len(read(read_log, run)) < 3
    mambaad.train(parts, run, resume=True)
    whole = [mambaad.train(parts, tmp_path / str(d), **settings, devices=d) for d in (2, 1)]
    losses, two, one = ([record["loss"] for record in read(read_log, r)] for r in (run, *whole))
    assert losses == two
    # Batch normalisation sums over the two in another order, and nine steps amplify that.
    assert losses == pytest.approx(one, rel=5e-3)
    assert one[2] < 0.9 * one[0]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_processes_that_are_still_starting_are_ended(parts, tmp_path):
    send_when(lambda: len(multiprocessing.active_children()) == 2, signal.SIGINT)
    with pytest.raises(Interrupted):
        mambaad.train(parts, tmp_path / "run", **SMALL, devices=2)
    assert multiprocessing.active_children() == []


def test_an_error_in_one_of_two_processes_is_raised(parts, tmp_path):
    with pytest.raises(NonFiniteLossError, match="lower --lr"):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, "lr": 1e30}, devices=2)


def test_precision(parts, trained_run, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1}, precision="bf16-mixed")
    (mixed,), exact = read(read_log, run), read(read_log, trained_run)[0]
    assert mixed["loss"] != exact["loss"]
    # bfloat16 rounds by up to 2^-8, 0.4 %, and the errors of many features average out.
    assert mixed["loss"] == pytest.approx(exact["loss"], rel=0.01)
    assert all(t.isfinite().all() for t in weights(run).values())


def test_mixed_precision_resumes_to_the_same_weights(parts, tmp_path, at_step):
    # With features kept and, after the interruption, computed again.
    settings = {**SMALL, "size": "32", "precision": "bf16-mixed", "epochs": 3}
    whole = mambaad.train(parts, tmp_path / "whole", **settings)
    with at_step(4, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, tmp_path / "cut", **settings)
    mambaad.train(parts, tmp_path / "cut", resume=True)
    assert_same_weights(tmp_path / "cut", whole)


def test_a_loss_that_is_not_finite_names_the_files(parts, tmp_path):
    settings = {**SMALL, "lr": 1e30}
    with pytest.raises(NonFiniteLossError) as caught:
        mambaad.train(parts, tmp_path / "run", **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(str(parts)) == SMALL["batch_size"]
    assert "lower --lr" in message


def test_resuming_with_other_settings_or_images_is_refused(parts, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change(run, {}, [PROTOTYPES])  # as if it had not finished
    with pytest.raises(ConfigError, match=r"--lr: .* started with 0\.005; omit it to resume"):
        mambaad.train(parts, run, resume=True, lr=0.1)
    other = make_parts(tmp_path / "other", train=5)
    with pytest.raises(RunError, match="does not hold the images"):
        mambaad.train(other, run, resume=True)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"epochs": -1}, ConfigError),
        ({"encoder_weights": "absent.pth"}, ConfigError),
        ({"encoder": "no_such_net"}, ConfigError),
        ({"classes": ("absent",)}, DataError),
        ({"devices": 16, "batch_size": 16}, ConfigError),
    ],
)
def test_wrong_arguments_write_nothing(parts, tmp_path, settings, error):
    with pytest.raises(error):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, **settings})
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(parts, trained_run, tmp_path):
    before = {path.name: path.read_bytes() for path in trained_run.iterdir()}
    with pytest.raises(RunError, match="exists and is not empty; resume it"):
        mambaad.train(parts, trained_run, **SMALL)
    assert {path.name: path.read_bytes() for path in trained_run.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="choose another --out"):
        mambaad.train(parts, tmp_path / "file", **SMALL)


@pytest.mark.parametrize("broken", ["bolt/train/good/001.png", "nut/test/spot/000.png"])
def test_unreadable_images(tmp_path, broken, capsys):
    parts = make_parts(tmp_path / "parts")
    (parts / broken).write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        mambaad.train(parts, tmp_path / "run", **SMALL)
    settings = {**SMALL, "epochs": 1, "size": "32"}
    run = mambaad.train(parts, tmp_path / "run", skip_unreadable=True, **settings)
    assert has(run, WEIGHTS)
    assert "1 unreadable images left out" in capsys.readouterr().err


def test_any_size_and_class_choice(parts, tmp_path):
    settings = {**SMALL, "epochs": 1, "size": "32x96", "classes": ("nut",)}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    assert list(json.loads((run / "data.json").read_text())["classes"]) == ["nut"]
    image = np.asarray(Image.open(parts / "nut" / "test" / "good" / "000.png"))
    assert mambaad.Inspector(run).inspect(image).anomaly_map.shape == (32, 96)


def test_cached_features_change_nothing(parts, tmp_path, capsys):
    settings = SMALL | {"epochs": 3, "batch_size": 3}
    without = mambaad.train(parts, tmp_path / "without", **settings, cache_features="off")
    assert "features of" not in capsys.readouterr().err
    places = {"memory": "in memory", "disk": "on disk", "device": "on the device"}
    for place, said in places.items():
        kept = mambaad.train(parts, tmp_path / place, **settings, cache_features=place)
        assert f"GiB, {said}" in capsys.readouterr().err
        assert_same_weights(without, kept)


def test_interrupted_is_a_keyboard_interrupt():
    # So that whoever only knows of Ctrl-C is right too.
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_a_full_disk_is_one_line(parts, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1})
    assert not list((tmp_path / "run").glob(".*tmp"))


def test_progress_says_when_an_epoch_ended(parts, tmp_path, capsys):
    mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1, "size": "32"})
    printed = capsys.readouterr().err
    assert "12 training images of 2 classes: bolt 6, nut 6" in printed
    assert "epoch 1/1  loss " in printed
    assert "images/s" in printed
