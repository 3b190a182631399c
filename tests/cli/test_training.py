"""``mambaad train`` and ``extend`` as they are typed; what they do is tested in tests/workflows."""

import csv
import json
import re
import shlex
import shutil

import pytest
import typer

from mambaad.cli.interrupts import exit_on_interrupt
from mambaad.config import TrainConfig
from mambaad.workflows.train import Interrupted
from tests.conftest import make_parts
from tests.runs import content


def test_flags_and_settings_have_the_same_names(mambaad_command):
    _, out, _ = mambaad_command("train", "--help")
    flags = set(re.findall(r"--([a-z][a-z-]+)", out))
    for name in TrainConfig.model_fields.keys() - {
        "depths",
        "head_steps",
        "loose_loss",
        "loss",
        "noisy_bottleneck",
        "schedule",
        "weight_decay",
        "lr_drop_after",
        "clip_grad",
        "beta1",
        "beta2",
        "blocks",
        "fold",
        "drop_path",
        "dropout",
        "normalise_features",
        "states",
        "expand",
        "kernels",
        "encoder_groups",
        "recentre",
        "decoder_width",
        "tile_views",
        "tile_positions",
    }:
        assert name.replace("_", "-") in flags


def test_the_whole_job(mambaad_command, parts, tmp_path):
    run, results = tmp_path / "run", tmp_path / "results"
    settings, listed = tmp_path / "small.yaml", tmp_path / "suspects.txt"
    listed.write_text("# one\nnut/train/good/004.png\n")
    settings.write_text("depths: [1, 1, 1, 1]\nepochs: 5\nbatch_size: 8\nencoder_weights: random\n")
    code, out, err = mambaad_command(
        *("train", parts, "--out", run, "--classes", "bolt, nut", "--encoder", "resnet18"),
        *("--size", "64x32", "--scan", "zigzag", "--directions", "4", "--epochs", "1"),
        *("--exclude", listed, "--trim", "0.1"),
        *("--batch-size", "4", "--lr", "0.001", "--seed", "1", "--config", settings),
    )
    assert code == 0, err
    assert f"next: mambaad evaluate {run} {parts}" in out
    config = json.loads((run / "config.json").read_text())
    assert config["epochs"] == 1  # a flag goes before the file
    assert (config["exclude"], config["trim"]) == (["nut/train/good/004.png"], 0.1)
    assert config["depths"] == [1, 1, 1, 1]
    assert (config["size"], config["scan"], config["directions"]) == ([64, 32], "zigzag", 4)

    figures, table = tmp_path / "figures.json", tmp_path / "figures.csv"
    code, out, _ = mambaad_command("evaluate", run, parts, "--json", figures, "--csv", table)
    assert code == 0
    assert re.search(r"^class +I-AUROC +I-AP .* mAD$", out, re.MULTILINE)
    assert json.loads(figures.read_text())["protocol"] == "exact"
    assert json.loads(figures.read_text())["precision"] == "float32"
    assert [row["class"] for row in csv.DictReader(table.read_text().splitlines())] == [
        "bolt",
        "nut",
        "mean",
    ]

    image = parts / "nut" / "test" / "spot" / "000.png"
    code, out, _ = mambaad_command(
        *("predict", run, image, "--out", results, "--class", "nut", "--precision", "bfloat16")
    )
    assert code == 0
    assert (results / "predictions.csv").is_file()

    code, out, _ = mambaad_command("info", run)
    assert code == 0
    assert re.search(r"^training +finished after 1 epochs$", out, re.MULTILINE)
    assert re.search(r"^nut +5 +6$", out, re.MULTILINE)


def test_an_interruption_names_the_next_command(
    mambaad_command, monkeypatch, parts, trained_run, tmp_path
):
    run = tmp_path / "the run"

    def train(*args, **kwargs):
        raise Interrupted("interrupted; resume with: mambaad.train(..., resume=True)")

    def begin(*args, **kwargs):
        shutil.copytree(trained_run, run)
        train()

    typed = f"mambaad train {parts} --out '{run}' --encoder resnet18 --device cpu"
    words = shlex.split(typed)[1:]
    monkeypatch.setattr("mambaad.workflows.train.train", train)
    code, out, err = mambaad_command(*words)
    assert (code, out) == (130, "")
    assert err == f"mambaad: interrupted; nothing was written; again with: {typed}\n"
    monkeypatch.setattr("mambaad.workflows.train.train", begin)
    code, out, err = mambaad_command(*words)
    assert err.endswith(f"what was trained is kept in {run}; resume with: {typed} --resume\n")
    monkeypatch.setattr("mambaad.workflows.train.train", train)
    monkeypatch.setattr("mambaad.cli.checks.check_training", lambda *_, **__: None)
    assert mambaad_command(*words, "--resume")[2] == err  # once is enough


@pytest.mark.parametrize(
    ("arguments", "interrupt", "line"),
    [
        ({"otherwise": "run it again"}, KeyboardInterrupt(), "run it again"),
        ({"otherwise": "run it again"}, Interrupted("resume in x"), "resume in x"),
        # demo, calibrate and benchmark: not how to resume the training within.
        ({"message": lambda: "found then"}, KeyboardInterrupt(), "found then"),
        ({"message": "mambaad demo"}, Interrupted("mambaad train --resume"), "mambaad demo"),
    ],
)
def test_an_interrupt_is_one_line(capsys, arguments, interrupt, line):
    with pytest.raises(typer.Exit) as left, exit_on_interrupt(**arguments):
        raise interrupt
    assert left.value.exit_code == 130
    assert capsys.readouterr().err == f"mambaad: {line}\n"


def test_extend_replaces_the_run_or_leaves_it(mambaad_command, trained_run, parts, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    new = make_parts(tmp_path / "new", classes=("bolt", "clip")) / "clip"
    before = content(run)
    command = ("extend", run, new, "--old", parts, "--epochs", 1)
    # Two epochs of training find nothing yet: whatever comes out, one of the two must happen.
    code, out, err = mambaad_command(*command, "--max-drop", 0)
    assert re.search(r"^bolt +[\d.]+ > [\d.]+", out, re.MULTILINE)
    assert re.search(r"^clip +[\d.]+ ", out, re.MULTILINE)
    if code == 1:
        assert f"mambaad: {run} was not changed: " in err
        assert "more than --max-drop 0" in err
        assert content(run) == before
        code, out, _ = mambaad_command(*command, "--max-drop", 1)
    assert code == 0
    assert f"extended: {run}, the former is {run}.before-clip\n" in out
    put = f"put {new} beside the other classes in {parts}, and mambaad calibrate {run} {parts}"
    assert f"next: {put} --cross-fit 3\n" in out
    code, _, err = mambaad_command(*command)
    assert (code, err.count("\n")) == (1, 1)
    assert "has a product 'clip' already" in err


def test_a_folder_that_is_not_empty_is_refused_before_all_else(mambaad_command, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine.txt").touch()
    code, _, said = mambaad_command("train", tmp_path / "absent", "--out", out)
    assert code == 1
    assert said == f"mambaad: {out} exists and is not empty; choose another --out\n"
