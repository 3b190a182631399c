"""The command line as a whole: its version, wrong usage, and a pipe that closes."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch

import mambaad
from mambaad.cli.app import main


def test_version(mambaad_command):
    code, out, _ = mambaad_command("--version")
    assert code == 0
    assert re.fullmatch(r"mambaad \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("train", "missing argument 'DATA'; see mambaad train --help"),
        ("predict run --colour", "no such option: --colour; see mambaad predict --help"),
        ("train data --epoch 3", "no such option: --epoch; did you mean --epochs?; see"),
        ("trian", "no such command 'trian'; did you mean 'train'?; see mambaad --help"),
        ("registry lst", "no such command 'lst'; did you mean 'list'?; see mambaad registry"),
        ("--loud", "no such option: --loud; see mambaad --help"),
        ("train data --out run --epochs few", "invalid value for '--epochs'"),
    ],
)
def test_wrong_flags_are_an_error_of_usage_in_one_line(mambaad_command, arguments, line):
    code, out, err = mambaad_command(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"mambaad: {line}")
    assert err.count("\n") == 1


def interrupted(*arguments, **named):
    raise KeyboardInterrupt


def ended(*arguments, **named):
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [interrupted, ended])
def test_every_command_says_that_it_was_stopped(mambaad_command, monkeypatch, tmp_path, stop):
    monkeypatch.setattr("mambaad.artifacts.registry.Registry.lines", stop)
    monkeypatch.setattr("mambaad.data.guess.guess", stop)
    before = signal.getsignal(signal.SIGTERM)
    for arguments in (("registry", "list"), ("data", "guess", str(tmp_path))):
        code, _, err = mambaad_command(*arguments)
        again = f"interrupted; nothing was changed; again with: mambaad {' '.join(arguments)}"
        assert (code, err) == (130, f"mambaad: {again}\n")
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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 99 bytes"),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_full_memory_is_one_line(mambaad_command, monkeypatch, trained_run, error):
    def fail(_):
        raise error

    monkeypatch.setattr("mambaad.cli.models.run_summary", fail)
    code, out, err = mambaad_command("info", trained_run)
    assert (code, out) == (1, "")
    assert err.startswith("mambaad: the memory is full; ")
    assert len(err.splitlines()) == 1


def test_an_error_of_this_package_s_own_code_keeps_its_trace(monkeypatch, trained_run):
    def fail(_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("mambaad.cli.models.run_summary", fail)
    monkeypatch.setattr("sys.argv", ["mambaad", "info", str(trained_run)])
    with pytest.raises(RuntimeError, match="shapes do not match"):
        main()


@pytest.mark.parametrize("command", [["info"], ["registry", "list", "--root"], ["data", "check"]])
def test_ctrl_c_is_one_line_in_every_command(mambaad_command, monkeypatch, tmp_path, command):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mambaad.artifacts.snapshot.opened", interrupt)
    monkeypatch.setattr("mambaad.artifacts.registry.Registry.lines", interrupt)
    monkeypatch.setattr("mambaad.data.inventory.check_data", interrupt)
    code, out, err = mambaad_command(*command, tmp_path)
    again = f"nothing was changed; again with: mambaad {' '.join(command)} {tmp_path}"
    assert (code, out, err) == (130, "", f"mambaad: interrupted; {again}\n")


def test_ctrl_c_beside_a_command_s_work_is_one_line(mambaad_command, monkeypatch, tmp_path):
    monkeypatch.setattr("mambaad.cli.interrupts.InterruptibleGroup.invoke", interrupted)
    line = f"mambaad: interrupted; again with: mambaad info {tmp_path}\n"
    assert mambaad_command("info", tmp_path) == (130, "", line)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_after_all_is_done_changes_nothing():
    program = "import atexit, signal; from mambaad.cli.app import main\n"
    program += "atexit.register(signal.raise_signal, signal.SIGINT); main()"  # the first one last
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_s_line_shows_odd_characters(mambaad_command, tmp_path):
    code, _, err = mambaad_command("info", tmp_path / "a\x1b[2J\u202eb")
    assert code == 1
    assert r"a\x1b[2J\u202eb" in err
    assert err.rstrip("\n").isprintable()
