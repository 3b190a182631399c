"""The command line as it is typed; what the commands do is tested beside what they call."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import mambaad
from mambaad.cli.app import app
from mambaad.config import TrainConfig
from mambaad.workflows.train import Interrupted

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "predict",
    "info",
    "import-checkpoint",
    "make-data",
    "benchmark",
    "profile",
    "calibrate",
    "extend",
    "bundle",
    "monitor",
)


def test_version(mambaad_command):
    code, out, _ = mambaad_command("--version")
    assert code == 0
    assert re.fullmatch(r"mambaad \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_is_documented(mambaad_command, command):
    code, out, _ = mambaad_command(command, "--help")
    assert code == 0
    assert "Usage" in out
    assert f"mambaad {command}" in README


def test_no_command_is_missing_here():
    names = {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands}
    assert names == set(COMMANDS)


def test_flags_and_settings_have_the_same_names(mambaad_command):
    _, out, _ = mambaad_command("train", "--help")
    flags = set(re.findall(r"--([a-z][a-z-]+)", out))
    for name in TrainConfig.model_fields.keys() - {
        "depths",
        "loss",
        "schedule",
        "weight_decay",
        "lr_drop_after",
        "clip_grad",
        "beta1",
        "beta2",
        "blocks",
        "fold",
        "drop_path",
        "states",
        "expand",
        "kernels",
    }:
        assert name.replace("_", "-") in flags


def test_the_whole_job(mambaad_command, parts, tmp_path):
    run, results = tmp_path / "run", tmp_path / "results"
    settings = tmp_path / "small.yaml"
    settings.write_text("depths: [1, 1, 1, 1]\nepochs: 5\nbatch_size: 8\nencoder_weights: random\n")
    code, out, err = mambaad_command(
        *("train", parts, "--out", run, "--classes", "bolt, nut", "--encoder", "resnet18"),
        *("--size", "64x32", "--scan", "zigzag", "--directions", "4", "--epochs", "1"),
        *("--batch-size", "4", "--lr", "0.001", "--seed", "1", "--config", settings),
    )
    assert code == 0, err
    assert f"next: mambaad evaluate {run} {parts}" in out
    config = json.loads((run / "config.json").read_text())
    assert config["epochs"] == 1  # a flag goes before the file
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
    assert re.search(r"^nut +6 +6$", out, re.MULTILINE)


def test_make_data(mambaad_command, tmp_path):
    data = tmp_path / "data"
    code, out, err = mambaad_command(
        *("make-data", data, "--classes", "wood, kit", "--train", "2", "--test", "3"),
        *("--size", "64", "--seed", "5", "--difficulty", "0.2"),
    )
    assert code == 0, err
    assert out == (
        f"made: {data}, 2 classes of 2 good parts to train on and 3 to test on; "
        f"next: mambaad train {data} --out RUN\n"
    )
    manifest = json.loads((data / "manifest.json").read_text())
    assert (manifest["classes"], manifest["seed"]) == (["wood", "kit"], 5)
    assert (manifest["size"], manifest["difficulty"]) == (64, 0.2)
    assert len(list(data.rglob("*.png"))) == 2 * (2 + 3 + 1)


def test_make_data_interrupted(mambaad_command, monkeypatch, tmp_path):
    def draw(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mambaad.data.synthetic.factory._draw_all", draw)
    code, out, err = mambaad_command("make-data", tmp_path / "data")
    assert (code, out) == (130, "")
    assert err == "mambaad: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_info_of_an_unfinished_and_an_imported_run(mambaad_command, trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "good_parts.safetensors").unlink()
    assert "not finished: 2 of 2 epochs" in mambaad_command("info", run)[1]
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "classes": {}, "imported": "net.pth"}))
    assert re.search(r"^imported from +net.pth$", mambaad_command("info", run)[1], re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("info", "{tmp}"), "is not a run folder"),
        (("evaluate", "{run}", "{tmp}"), "has no classes"),
        (("evaluate", "{run}", "{parts}", "--protocol", "mine"), "--protocol: expected one of"),
        (("evaluate", "{run}", "{parts}", "--precision", "half"), "--precision: expected one of"),
        (("evaluate", "{run}", "{parts}", "--json", "{tmp}/no/such.json"), "is not a folder"),
        (("evaluate", "{run}", "{parts}", "--json", "{tmp}"), "is not a file; give the name"),
        (("predict", "{run}", "{tmp}/no.png", "--out", "{tmp}/out"), "there is no image or folder"),
        (("train", "{tmp}/none", "--out", "{tmp}/run"), "is not a folder"),
        (("train", "{parts}", "--out", "{tmp}/run", "--size", "100"), "--size: 100 is not a mult"),
        (("train", "{parts}", "--out", "{tmp}/run", "--epochs", "0"), "--epochs: "),
        (("train", "{parts}", "--out", "{tmp}/run", "--config", "{tmp}/no.yaml"), "--config: "),
        (("train", "{parts}", "--out", "{tmp}/run", "--resume"), "is not a run folder"),
        (("import-checkpoint", "{tmp}/no.pth", "--out", "{tmp}/run"), "there is no file"),
        (("make-data", "{tmp}/data", "--classes", "spoon"), "no product 'spoon'; choose from fab"),
        (("make-data", "{tmp}/data", "--size", "100"), "--size: 100 is not a multiple of 32"),
        (("make-data", "{tmp}/data", "--train", "1"), "--train: 1 is not from 2"),
        (("make-data", "{parts}"), "is not an empty folder; give another place"),
    ],
)
def test_an_error_is_one_line(mambaad_command, parts, trained_run, tmp_path, arguments, complaint):
    places = {"tmp": tmp_path, "run": trained_run, "parts": parts}
    code, out, err = mambaad_command(*(text.format(**places) for text in arguments))
    assert code == 1
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("mambaad: ")]
    assert len(lines) == 1
    assert complaint in lines[0]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_ends_with_an_error(mambaad_command, trained_run, parts, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    good = parts / "nut" / "test" / "good" / "000.png"
    code, out, err = mambaad_command(
        "predict", trained_run, tmp_path / "in", good, "--out", tmp_path / "out"
    )
    assert code == 1
    assert "1 images: " in out
    assert "bad.png cannot be read" in err


def test_after_an_interruption_the_next_command_is_told(mambaad_command, monkeypatch, tmp_path):
    def train(*args, **kwargs):
        raise Interrupted("interrupted; go on with: mambaad train parts --out run --resume")

    monkeypatch.setattr(sys.modules["mambaad.workflows.train"], "train", train)
    code, out, err = mambaad_command("train", tmp_path, "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err == "mambaad: interrupted; go on with: mambaad train parts --out run --resume\n"


def test_wrong_flags_are_an_error_of_usage():
    for arguments in (["train"], ["predict", "run", "--colour"], ["paint"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_goes_away_is_no_traceback(trained_run):
    program = "from mambaad.cli import main; main()"
    arguments = [sys.executable, "-c", program, "info", str(trained_run)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in done.stderr


def test_the_same_from_python(trained_run, parts):
    # As the README has it, in a handful of lines.
    prediction = mambaad.Inspector(trained_run).inspect(parts / "nut" / "test" / "spot" / "000.png")
    assert prediction.score > 0
    assert prediction.anomaly_map.shape == (64, 64)
    assert prediction.product == "nut"
    model = mambaad.build_model("resnet18", "random", directions=2, depths=(1, 1, 1, 1))
    assert len(model(torch.zeros(1, 3, 64, 64)).reconstructed) == 3


def test_profile_shows_the_published_count(mambaad_command, monkeypatch):
    monkeypatch.setattr("mambaad.workflows.profile._ROUNDS", 1)
    code, out, _ = mambaad_command("profile")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["encoder"][1:3] == ["8.170", "0.000"]
    assert rows["whole"][1] == "25.615"
    assert "25.65 M with them" in out


def test_benchmark_writes_its_tables(mambaad_command, parts, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "settings: {encoder: resnet18, encoder_weights: random, size: 32, epochs: 1}\n"
        "systems: {lite: {variant: lite}, broken: {system: rd4ad, encoder: tf_efficientnet_b4}}\n"
        f"data: {{parts: {{path: {parts}}}}}\n"
    )
    code, out, err = mambaad_command("benchmark", plan, "--out", tmp_path / "out")
    assert code == 1
    assert "mambaad: failed: broken on parts, seed 42" in err
    assert "| lite |" in out
    made = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert made == {"results.md", "results.html", "results.csv", "results.tex"}
