"""Training by torchrun: as one process, by one writer, and what is left where a process dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mambaad
from mambaad.artifacts.manifest import CHECKPOINT, HEAD_LOG, PROTOTYPES
from mambaad.artifacts.run_folder import read_data_summary, read_log
from tests.conftest import SMALL
from tests.runs import content, has, plain_names, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes share files on Linux")

SCRIPT = Path(__file__).with_name("launched.py")
# 10 good parts, of which 2 are held out: two steps of 4 an epoch.
SETTINGS: dict[str, Any] = {**SMALL, "epochs": 3, "lr": 1e-4, "holdout": 0.2}
SETTINGS |= {"head": "residual", "head_steps": 2}


def torchrun(*arguments: Any, options: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """The command of a training by two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", "2"]
    return [*command, *map(str, arguments)]


def run_to_its_end(command: list[str], cwd: Path) -> tuple[int, str]:
    # As every process computes with one thread in the other tests.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """A run by two processes, and what each of them has said."""
    folder = tmp_path_factory.mktemp("together")
    code, said = run_to_its_end(
        torchrun(SCRIPT, parts, folder / "run", folder, json.dumps(SETTINGS)), folder
    )
    assert code == 0, said
    return folder / "run", [json.loads((folder / f"{n}.json").read_text()) for n in range(2)]


def test_two_processes_have_the_losses_of_one_and_the_same_weights(parts, whole, tmp_path):
    run, said = whole
    assert said[0]["weights"] == said[1]["weights"]
    one = mambaad.train(parts, tmp_path / "one", **SETTINGS)
    losses, single = ([r["loss"] for r in read(read_log, r)] for r in (run, one))
    # Gradients are summed in another order, as are the sums of batch normalisation.
    assert losses[0] == pytest.approx(single[0], rel=1e-4)
    assert losses == pytest.approx(single, rel=5e-3)
    assert losses[2] < losses[0]


def test_one_process_writes_the_whole_run(parts, whole, tmp_path):
    run, _ = whole
    assert has(run, PROTOTYPES)
    assert has(run, HEAD_LOG)
    assert not has(run, CHECKPOINT)
    held_out = read(read_data_summary, run)["parts"]
    one = mambaad.train(parts, tmp_path / "one", **{**SETTINGS, "epochs": 1})
    assert held_out == read(read_data_summary, one)["parts"]
    assert plain_names(run) == plain_names(one)


def test_no_image_is_decoded_encoded_or_kept_twice_on_a_machine(whole):
    run, said = whole
    classes = read(read_data_summary, run)["classes"].values()
    images = sum(c["train"] - c["holdout"] for c in classes)
    # Of 3 epochs; an epoch may leave some of the images out.
    assert images - 4 < sum(s["decoded"] for s in said) <= images + 4
    assert images - 4 < sum(s["encoded"] for s in said) <= images + 4
    assert said[0]["cached"]
    assert said[0]["cached"] == said[1]["cached"]  # the same file, not two of that size


def test_a_killed_process_ends_the_other_and_the_run_is_resumed_to_the_same(parts, whole, tmp_path):
    run = tmp_path / "run"
    settings = {**SETTINGS, "kill": [1, 4]}
    code, said = run_to_its_end(
        torchrun(SCRIPT, parts, run, tmp_path, json.dumps(settings)), tmp_path
    )
    assert code != 0
    lines = [line for line in said.splitlines() if "resume with: " in line]
    assert "process 1 of 2 is gone" in lines[0]
    # And not the half hour of a collective.
    assert time.time() - float((tmp_path / "killed").read_text()) < 60
    command = lines[0].partition("resume with: ")[2]
    arguments = f"-m mambaad train {parts} --out {run} --resume"
    assert command == f"torchrun --standalone --nproc-per-node 2 {arguments}"
    # The very command, by this environment's torchrun.
    code, said = run_to_its_end(torchrun(*arguments.split()), tmp_path)
    assert code == 0, said
    assert content(run) == content(whole[0])


def test_ctrl_c_to_torchrun_saves_between_two_steps(parts, whole, tmp_path):
    run = tmp_path / "run"
    settings = {**SETTINGS, "interrupt": 3}
    code, said = run_to_its_end(
        torchrun(SCRIPT, parts, run, tmp_path, json.dumps(settings)), tmp_path
    )
    assert code != 0
    assert has(run, CHECKPOINT), said
    mambaad.train(parts, run, resume=True)  # by two processes of its own
    losses, expected = ([r["loss"] for r in read(read_log, r)] for r in (run, whole[0]))
    assert losses == pytest.approx(expected, rel=1e-4)


def test_what_is_wrong_is_said_once(parts, tmp_path):
    arguments = ["-m", "mambaad", "train", parts, "--out", tmp_path / "run"]
    code, said = run_to_its_end(torchrun(*arguments, "--devices", 3, "--lr", "1e-4"), tmp_path)
    assert code != 0
    lines = [line for line in said.splitlines() if line.startswith("mambaad: ")]
    assert len(set(lines)) == 1, said
    assert "--devices 3: the launcher has started 2 processes" in lines[0]
    assert not (tmp_path / "run").exists()
