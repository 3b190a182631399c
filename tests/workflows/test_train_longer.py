"""A run is trained for more epochs than it was begun with, whether it has ended or not."""

import shutil
import signal

import pytest

import mambaad
from mambaad.artifacts.manifest import CALIBRATION, CHECKPOINT
from mambaad.artifacts.run_folder import is_finished, read_config, read_log
from mambaad.errors import ConfigError, RunError
from mambaad.training.schedule import learning_rate
from mambaad.workflows.train import Interrupted
from tests.conftest import SMALL, SMALL_BASE
from tests.runs import change_json, content, has, read


def test_a_finished_run_goes_on_from_its_weights_at_the_rates_of_the_new_length(
    parts, trained_run, tmp_path, capsys
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    before = read(read_log, run)
    mambaad.train(parts, run, resume=True, epochs=4)
    log, config = read(read_log, run), read(read_config, run)
    assert config.epochs == 4
    assert read(is_finished, run)
    assert not has(run, CHECKPOINT)
    assert log[:2] == before
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    # With a fall to a tenth after 0.8 of the epochs: before, in the last of 2; now, in none.
    assert [r["lr"] for r in log[2:]] == [learning_rate(config, 2), learning_rate(config, 3)]
    assert log[3]["loss"] < log[2]["loss"] < log[0]["loss"]  # not from the start
    assert "training goes on after 2 epochs, to 4, at the learning rates of" in (
        capsys.readouterr().err
    )


def test_interrupted_in_the_further_epochs_it_ends_at_the_same_weights(
    parts, trained_run, tmp_path, at_step
):
    whole = shutil.copytree(trained_run, tmp_path / "whole")
    mambaad.train(parts, whole, resume=True, epochs=4)
    cut = shutil.copytree(trained_run, tmp_path / "cut")
    with at_step(5, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, cut, resume=True, epochs=4)
    assert not read(is_finished, cut)
    mambaad.train(parts, cut, resume=True)  # it is a run of four epochs by now
    assert content(cut) == content(whole)


def test_an_unfinished_run_is_lengthened_before_it_ends(parts, tmp_path, at_step):
    settings, run = {**SMALL, "size": "32"}, tmp_path / "run"
    with at_step(5, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, run, **settings)
    assert len(read(read_log, run)) == 1
    with pytest.raises(ConfigError, match=r"--epochs: .* has had 1 epochs; give more than 1"):
        mambaad.train(parts, run, resume=True, epochs=1)
    mambaad.train(parts, run, resume=True, epochs=3)
    assert len(read(read_log, run)) == 3


def test_what_was_made_of_the_former_weights_goes(many_parts, calibrated_run, tmp_path, capsys):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    mambaad.train(many_parts, run, resume=True, epochs=SMALL_BASE["epochs"] + 1)
    assert read(is_finished, run)
    assert not has(run, CALIBRATION)
    assert "calibrate again" in capsys.readouterr().err


def test_a_run_of_other_epochs_than_its_log_is_refused(parts, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change_json(run, "config.json", lambda config: {**config, "epochs": 5})  # as an extended run
    with pytest.raises(RunError, match="was extended or imported"):
        mambaad.train(parts, run, resume=True, epochs=9)


def test_the_residual_head_is_trained_again(parts, tmp_path):
    settings = {**SMALL, "recipe": "fast", "size": "32", "head_steps": 3}
    run = mambaad.train(parts, tmp_path / "run", **settings)
    mambaad.train(parts, run, resume=True, epochs=3)
    assert read(is_finished, run)
    assert has(run, "head.jsonl")
    assert not list(run.glob("*checkpoint*"))
    assert mambaad.Inspector(run).is_finished
