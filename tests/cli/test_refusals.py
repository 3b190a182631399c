"""Wrong arguments: one line, exit code 1, nothing written, and no wait for PyTorch."""

import json
import shutil
import subprocess
import sys

import pytest

from mambaad.workflows.bundle import bundle as make_bundle

# Refused before PyTorch is imported.
AT_ONCE = [
    ("info {tmp}", "is not a run folder"),
    ("info {parts}/bolt/test/good/000.png", "is not a bundle"),
    ("evaluate {tmp} {parts}", "is not a run folder"),
    ("evaluate {run} {tmp}", "has no classes"),
    ("evaluate {run} {tmp}/none", "is not a folder"),
    ("evaluate {bundle} {tmp}/none", "is not a folder"),
    ("evaluate {run} {parts} --protocol mine", "--protocol: expected one of"),
    ("evaluate {run} {parts} --precision half", "--precision: expected one of"),
    ("evaluate {run} {parts} --device gpu", "--device: expected auto, cpu, cuda, cuda:N"),
    ("evaluate {run} {parts} --json {tmp}/no/such.json", "is not a folder"),
    ("evaluate {run} {parts} --json {tmp}", "is no regular file"),
    ("evaluate {run} {parts} --report {tmp}/page", "has no calibration"),
    ("evaluate {bundle} {parts} --verdicts", "has no calibration"),
    ("predict {tmp}/none {parts} --out {tmp}/out", "is not a run folder"),
    ("predict {run} {tmp}/no.png --out {tmp}/out", "does not exist; give an image or a folder"),
    ("predict {run} {parts} --out {tmp}/out --class spoon", "--class: the model was not trained"),
    ("predict {bundle} {parts} --out {tmp}/out --class spoon", "choose from bolt, nut"),
    (
        "predict {run} {parts} --out {tmp}/out --device gpu",
        "--device: expected auto, cpu, cuda, cuda:N",
    ),
    ("predict {run} {parts} --out {tmp}/out --junit {tmp}/junit.xml", "has no calibration"),
    ("predict {run} {parts} --out {tmp}/out --junit {tmp}", "is no regular file"),
    ("train {tmp}/none --out {tmp}/run", "is not a folder"),
    ("train {parts} --out {tmp}/run --classes spoon", "has no class spoon"),
    ("train {parts} --out {tmp}/run --layout mine", "--layout: expected one of"),
    ("train {parts} --out {tmp}/run --size 100", "--size: 100 is not a mult"),
    ("train {parts} --out {tmp}/run --epochs 0", "--epochs: "),
    ("train {parts} --out {tmp}/run --system mine", "--system: expected one of"),
    ("train {parts} --out {tmp}/run --encoder-weights {tmp}/no.pth", "--encoder-weights: there is"),
    ("train {parts} --out {tmp}/run --config {tmp}/no.yaml", "--config: "),
    ("train {parts} --out {tmp}/run --resume", "is not a run folder"),
    ("import-checkpoint {tmp}/no.pth --out {tmp}/run", "there is no file"),
    ("import-checkpoint {bundle} --out {tmp}/run --scan spiral", "--scan: "),
    ("make-data {tmp}/data --classes spoon", "no product 'spoon'; choose from fab"),
    ("make-data {tmp}/data --size 100", "--size: expected a multiple of 32"),
    ("make-data {tmp}/data --train 1", "--train: expected 2 to"),
    ("make-data {parts}", "is not an empty folder; give another place"),
    ("data check {tmp}/none", "is not a folder"),
    ("data check {parts} --layout mine", "--layout: expected one of"),
    ("data suspects {tmp}/none --out {tmp}/page.html", "is not a folder"),
    ("data suspects {parts} --out {tmp}/page.txt", "--out: expected a page such as suspects.html"),
    ("data suspects {parts} --out {tmp}/page.html --share 2", "--share: expected a share above 0"),
    ("data suspects {parts} --out {tmp}/page.html --size 100", "--size: 100 is not a mult"),
    ("data suspects {parts} --out {tmp}/page.html --classes spoon", "has no class spoon"),
    ("train {parts} --out {tmp}/run --exclude {tmp}/none.txt", "--exclude: "),
    ("train {parts} --out {tmp}/run --trim 0.5", "--trim: input should be less than 0.5, got 0.5"),
    ("calibrate {tmp} {parts}", "is not a run folder"),
    ("calibrate {run} {parts} --precision half", "--precision: expected one of"),
    ("calibrate {run} {parts}", "give --cross-fit 3, or new ones with --new-parts"),
    ("calibrate {run} {parts} --target-fpr 2", "--target-fpr: expected a share"),
    ("extend {tmp} {parts}/nut --old {parts}", "is not a run folder"),
    ("monitor {tmp}/none --bundle {run}", "has no calibration"),
    ("monitor {tmp}/none --bundle {tmp}", "is not a run folder"),
    ("profile --size 100", "--size: 100 is not a mult"),
    ("benchmark {tmp}/no.yaml --out {tmp}/out", "PLAN: "),
    ("bundle {run} --out {tmp}/a.zip", "expected a file name that ends in .mambaad"),
    ("bundle {tmp}/none --out {tmp}/a.mambaad", "is not a run folder"),
    ("registry add a {tmp}/none --root {tmp}", "there is no bundle"),
    ("registry path a --root {tmp}", "has no version in use"),
    ("registry promote a 1 --root {tmp}", "there is no line a"),
    ("registry rollback a --root {tmp}", "there is no line a"),
]
# Refused by what needs PyTorch for its work.
LATER = [
    ("extend {run} {parts}/nut --old {parts}", "has a product 'nut' already"),
    ("train {parts} --out {run} --encoder-weights random", "exists and is not empty"),
]


@pytest.fixture
def fill_in(parts, trained_run, tmp_path):
    """The words of a command, of which all that it may write lies in an empty folder."""
    empty, run = tmp_path / "empty", shutil.copytree(trained_run, tmp_path / "run")
    empty.mkdir()
    bundle = tmp_path / "model.mambaad"
    make_bundle(run, bundle)
    places = {"tmp": empty, "run": run, "bundle": bundle, "parts": parts}
    return lambda command: [word.format(**places) for word in command.split()]


@pytest.mark.parametrize(("command", "complaint"), LATER)
def test_an_error_is_one_line(mambaad_command, fill_in, tmp_path, command, complaint):
    code, out, err = mambaad_command(*fill_in(command))
    assert (code, out) == (1, "")
    (line,) = [line for line in err.splitlines() if line.startswith("mambaad: ")]
    assert complaint in line
    assert "Traceback" not in err
    assert list((tmp_path / "empty").iterdir()) == []


def run_without_torch(commands):
    """Run commands in one process in which PyTorch cannot be imported: code, output and error."""
    program = """
import contextlib, io, json, sys, traceback
sys.modules["torch"] = sys.modules["timm"] = None
from mambaad.cli.app import main
for arguments in json.load(sys.stdin):
    sys.argv = ["mambaad", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
        except Exception:
            code, _ = "traceback", traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_wrong_arguments_are_refused_without_torch(fill_in, tmp_path):
    found = run_without_torch([fill_in(command) for command, _ in AT_ONCE])
    wrong = [
        (command, code, out, err)
        for (command, complaint), (code, out, err) in zip(AT_ONCE, found, strict=True)
        if (code, out, err.count("\n")) != (1, "", 1)
        or not err.startswith("mambaad: ")
        or complaint not in err
    ]
    assert wrong == []
    assert list((tmp_path / "empty").iterdir()) == []


def test_small_files_are_read_without_torch(fill_in, mambaad_command):
    for number in (1, 2):
        add = fill_in("registry add press {bundle} --root {tmp} --note")
        assert mambaad_command(*add, f"number {number}")[0] == 0
    commands = {
        "--help": "Usage: ",
        "--version": "mambaad ",
        "train --help": "[resnet34]",
        "registry promote press 1 --root {tmp}": "press: version 1 is in use",
        "registry promote press 2 --root {tmp}": "press: version 2 is in use",
        "registry rollback press --root {tmp}": "press: version 1 is in use again",
        "registry path press --root {tmp}": "1.mambaad",
        "registry list --root {tmp}": "number 2",
        "info {run}": "finished after 2 epochs",
        "info {bundle}": "fingerprint of the data",
    }
    found = run_without_torch([fill_in(command) for command in commands])
    for (command, text), (code, out, err) in zip(commands.items(), found, strict=True):
        assert (code, err) == (0, ""), command
        assert text in out
