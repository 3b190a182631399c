"""What a killed ``mambaad predict`` leaves, and two of them into one folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.killing import kill_at_every_change

_SETUP = """
import torch
torch.set_num_threads(1)
from mambaad.inspection.inspector import Inspector
from mambaad.workflows.predict import predict
inspector = Inspector(arguments[0], device="cpu", compile="off")
"""
_HOLD = """
import sys, time
from pathlib import Path
from mambaad.files import locked
with locked(Path(sys.argv[1]), make=True):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills as other systems do")
def test_the_next_call_leaves_nothing_of_it(parts: Path, trained_run: Path, tmp_path: Path) -> None:
    image = parts / "nut" / "test" / "good" / "000.png"
    action = "predict(inspector, [arguments[1]], place)"
    kills = kill_at_every_change(action, tmp_path, trained_run, image, setup=_SETUP, step=3)
    assert kills > 5
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv",
        "predictions.jsonl",
        "000.png.heatmap.png",
        "000.png.map.npy",
    }


def test_a_page_that_another_process_writes_is_left_alone(
    parts: Path, trained_run: Path, tmp_path: Path, mambaad_command
) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("of the other")
    command = [sys.executable, "-c", _HOLD, str(page)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        arguments = (trained_run, parts / "nut" / "test" / "good", "--out", tmp_path / "out")
        code, _, err = mambaad_command("predict", *arguments, "--report", page)
        process.communicate("")
    assert code == 1
    assert err.splitlines()[-1] == (
        f"mambaad: {page} is being written by another mambaad process; wait for it, or choose "
        "another path"
    )
    assert (page / "index.html").read_text() == "of the other"
    assert not list((tmp_path / "out").iterdir())
