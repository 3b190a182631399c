"""The command line as a whole: its version, wrong usage, and a pipe that closes."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

import mambaad
from mambaad.cli.app import app


def test_version(mambaad_command):
    code, out, _ = mambaad_command("--version")
    assert code == 0
    assert re.fullmatch(r"mambaad \d+\.\d+\.\d+\n", out)


def test_wrong_flags_are_an_error_of_usage():
    for arguments in (["train"], ["predict", "run", "--colour"], ["paint"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2


def interrupted(*arguments, **named):
    raise KeyboardInterrupt


def ended(*arguments, **named):
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [interrupted, ended])
def test_every_command_says_that_it_was_stopped(mambaad_command, monkeypatch, tmp_path, stop):
    monkeypatch.setattr("mambaad.artifacts.registry.Registry.lines", stop)
    monkeypatch.setattr("mambaad.data.guess.guess", stop)
    before = signal.getsignal(signal.SIGTERM)
    for arguments in (("registry", "list"), ("data", "guess", tmp_path)):
        code, _, err = mambaad_command(*arguments)
        assert (code, err) == (130, "mambaad: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_reader_that_goes_away_is_no_traceback(trained_run):
    program = "from mambaad.cli.app import main; main()"
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
