import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mambaad
from mambaad.artifacts.run_folder import load_tensors
from mambaad.errors import ConfigError, DataError, NonFiniteLossError, RunError
from mambaad.training import checkpoint
from mambaad.workflows.train import Interrupted
from tests.conftest import SMALL, make_parts

# Trains in a process of its own, and says on standard output when a step of an epoch begins.
SCRIPT = """
import json, sys
import torch
import mambaad
import mambaad.training.loop
from mambaad.training import loss

torch.set_num_threads(1)  # as in the other tests: sums depend on how work is split
steps = 0
module = sys.modules["mambaad.training.loop"]

def announced(*args):
    global steps
    print("step", steps, flush=True)
    steps += 1
    return loss.squared_error_loss(*args)

module.LOSSES = {"squared-error": announced}
try:
    mambaad.train(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
except KeyboardInterrupt as error:
    print(error)
    sys.exit(130)
"""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "weights.safetensors")[0]


def assert_same_weights(run: Path, other: Path) -> None:
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def start(parts: Path, run: Path, **settings) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(parts), str(run), json.dumps(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for printed in process.stdout:
        if printed.strip() == line:
            return
    pytest.fail(f"the training ended before '{line}'")


def test_two_runs_with_one_seed_give_the_same_weights(parts, trained_run, tmp_path):
    assert_same_weights(mambaad.train(parts, tmp_path / "again", **SMALL), trained_run)


def test_another_seed_gives_other_weights(parts, trained_run, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "seed": 7, "epochs": 1})
    ours, theirs = weights(run), weights(trained_run)
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_loss_falls(trained_run):
    log = [json.loads(line) for line in (trained_run / "log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < log[0]["loss"]


def test_the_learning_rate_drops_after_its_share_of_the_epochs(parts, tmp_path):
    settings = {**SMALL, "epochs": 4, "lr_drop_after": 0.5, "size": "32", "lr": 0.002}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["lr"] for record in log] == pytest.approx([0.002, 0.002, 0.0002, 0.0002])


def test_the_fast_recipe_trains_and_resumes_to_the_same_weights(parts, tmp_path, monkeypatch):
    settings = {**SMALL, "recipe": "fast", "size": "32"}
    whole = mambaad.train(parts, tmp_path / "whole", **settings)
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < log[0]["loss"] < 6  # cosine distances of three scales

    real, steps = torch.optim.AdamW.step, []

    def stop_in_the_second_epoch(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", stop_in_the_second_epoch)
    with pytest.raises(Interrupted):
        mambaad.train(parts, tmp_path / "cut", **settings)
    monkeypatch.undo()
    mambaad.train(parts, tmp_path / "cut", resume=True)
    assert_same_weights(tmp_path / "cut", whole)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(parts, trained_run, tmp_path, number):
    run = tmp_path / "run"
    process = start(parts, run, **SMALL)
    wait_for(process, "step 4")  # in the middle of the second epoch
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"--out {run} --resume" in output
    assert (run / "checkpoint.safetensors").is_file()

    # The second time in this process: the weights do not depend on the process either.
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)
    assert not (run / "checkpoint.safetensors").exists()
    assert len((run / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("moment", ["step 1", "step 3", "step 5"])
def test_killed_and_resumed_is_the_same_as_uninterrupted(parts, trained_run, tmp_path, moment):
    run = tmp_path / "run"
    process = start(parts, run, **SMALL)
    wait_for(process, moment)
    process.kill()
    process.communicate(timeout=120)
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)


def test_killed_at_the_very_end_and_resumed(parts, trained_run, tmp_path, monkeypatch):
    def killed(*args):
        raise SystemExit

    run = tmp_path / "run"
    saved = []

    def save_checkpoint(path, model, optimizer, position):
        if position.epoch == SMALL["epochs"]:
            raise SystemExit  # the weights are written, their checkpoint is not
        saved.append(checkpoint.save_checkpoint(path, model, optimizer, position))

    with monkeypatch.context() as patched:
        patched.setattr("mambaad.training.loop.save_checkpoint", save_checkpoint)
        with pytest.raises(SystemExit):
            mambaad.train(parts, run, **SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["mambaad.workflows.train"], "look_at_good_parts", killed)
        with pytest.raises(SystemExit):
            mambaad.train(parts, run, resume=True)
    (run / ".0123.mambaad-tmp").write_bytes(b"half a checkpoint")
    mambaad.train(parts, run, resume=True)
    assert_same_weights(run, trained_run)
    assert {path.name for path in run.iterdir()} == {path.name for path in trained_run.iterdir()}


def test_a_resumed_run_needs_no_encoder_file(parts, tmp_path):
    run, file = tmp_path / "run", tmp_path / "encoder.pth"
    encoder = mambaad.build_model("resnet18", "random").encoder.backbone
    torch.save(encoder.state_dict(), file)
    settings = {**SMALL, "encoder_weights": str(file)}
    process = start(parts, run, **settings)
    wait_for(process, "step 1")  # in the first epoch already
    process.kill()
    process.communicate(timeout=120)
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


def test_two_processes_train_like_one(parts, tmp_path):
    # One step, so that rounding is not amplified; and weights too, since a step that is done twice
    # has the same loss.
    settings = {**SMALL, "epochs": 1, "batch_size": 12, "lr": 0.01}
    runs = [mambaad.train(parts, tmp_path / str(d), **settings, devices=d) for d in (1, 2)]
    losses = [json.loads((run / "log.jsonl").read_text())["loss"] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    ours, theirs = (weights(run) for run in runs)
    for key, one in ours.items():
        if key.endswith("num_batches_tracked"):
            assert theirs[key] == one
        elif key.endswith(("running_mean", "running_var")):
            assert torch.allclose(theirs[key], one, rtol=1e-4, atol=1e-5), key
        else:
            # Adam's first step moves every weight by the learning rate, up or down, and only for
            # gradients that are rounding errors the two may disagree.
            assert ((theirs[key] - one).abs() > 1e-4).float().mean() < 0.05 or "bias" in key, key
    assert (runs[1] / "good_parts.safetensors").is_file()


def test_two_processes_have_the_same_loss_over_several_steps(parts, tmp_path):
    settings = {**SMALL, "epochs": 1, "lr": 0.0005}
    runs = [mambaad.train(parts, tmp_path / str(d), **settings, devices=d) for d in (1, 2)]
    ends = [json.loads((run / "log.jsonl").read_text().splitlines()[-1])["loss"] for run in runs]
    assert ends[1] == pytest.approx(ends[0], rel=1e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_interrupted_and_resumed(parts, tmp_path):
    run = tmp_path / "run"
    process = start(parts, run, **SMALL, devices=2)
    while not (run / "log.jsonl").is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    mambaad.train(parts, run, resume=True)
    assert len((run / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_processes_that_are_still_starting_are_ended(parts, tmp_path):
    process = start(parts, tmp_path / "run", **SMALL, devices=2)
    while not (tmp_path / "run" / "config.json").is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_an_error_in_one_of_two_processes_is_told(parts, tmp_path):
    with pytest.raises(NonFiniteLossError, match="lower --lr"):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, "lr": 1e30}, devices=2)


def test_precision(parts, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1}, precision="bf16-mixed")
    assert json.loads((run / "log.jsonl").read_text())["loss"] > 0
    assert all(t.isfinite().all() for t in weights(run).values())


def test_mixed_precision_resumes_to_the_same_weights(parts, tmp_path, monkeypatch):
    # With features kept and, after the interruption, computed again.
    settings = {**SMALL, "size": "32", "precision": "bf16-mixed", "epochs": 3}
    whole = mambaad.train(parts, tmp_path / "whole", **settings)
    real, steps = torch.optim.AdamW.step, []

    def stop_in_the_second_epoch(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGINT)
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", stop_in_the_second_epoch)
        with pytest.raises(Interrupted):
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
    (run / "good_parts.safetensors").unlink()  # as if it had not finished
    with pytest.raises(ConfigError, match=r"--lr: .* was started with 0.005"):
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
def test_what_cannot_work_writes_nothing(parts, tmp_path, settings, error):
    with pytest.raises(error):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, **settings})
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(parts, trained_run, tmp_path):
    before = weights(trained_run)
    with pytest.raises(RunError, match="exists and is not empty; go on with it"):
        mambaad.train(parts, trained_run, **SMALL)
    assert weights(trained_run).keys() == before.keys()
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
    assert (run / "weights.safetensors").is_file()
    assert "1 unreadable images left out" in capsys.readouterr().err


def test_any_size_and_class_choice(parts, tmp_path):
    settings = {**SMALL, "epochs": 1, "size": "32x96", "classes": ("nut",)}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    assert list(json.loads((run / "data.json").read_text())["classes"]) == ["nut"]
    image = np.asarray(Image.open(parts / "nut" / "test" / "good" / "000.png"))
    assert mambaad.Inspector(run).inspect(image).anomaly_map.shape == (32, 96)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_kept_features_change_nothing(parts, tmp_path, place, capsys):
    settings = SMALL | {"epochs": 3, "batch_size": 3}
    without = mambaad.train(parts, tmp_path / "without", **settings, cache_features="off")
    assert "features of" not in capsys.readouterr().err
    kept = mambaad.train(parts, tmp_path / "kept", **settings, cache_features=place)
    assert f"GiB, in {place}" in capsys.readouterr().err
    assert_same_weights(without, kept)
    assert (kept / "log.jsonl").is_file()


def test_interrupted_is_a_keyboard_interrupt():
    # So that whoever only knows of Ctrl-C is right too.
    assert issubclass(Interrupted, KeyboardInterrupt)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_one_line(parts, tmp_path, monkeypatch):
    def full(path, *args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("mambaad.artifacts.run_folder.save_file", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1})
    assert not list((tmp_path / "run").glob(".*tmp"))


def test_progress_says_when_an_epoch_ended(parts, tmp_path, capsys):
    started = time.perf_counter()
    mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1, "size": "32"})
    assert time.perf_counter() > started
    printed = capsys.readouterr().err
    assert "12 training images of 2 classes: bolt 6, nut 6" in printed
    assert "epoch 1/1  loss " in printed
    assert "images/s" in printed
