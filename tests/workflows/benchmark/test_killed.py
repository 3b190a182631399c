"""A benchmark that is killed leaves no training running."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

_PLAN = """
title: A long benchmark
settings: {{encoder: resnet18, encoder_weights: random, epochs: 10000, batch_size: 4, size: 32}}
systems:
  MambaAD lite: {{variant: lite}}
data:
  parts: {{path: {parts}}}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as other systems do")
def test_its_children_end_with_it(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(_PLAN.format(parts=parts))
    out = tmp_path / "out"
    run = "from mambaad.cli.app import main; main()"
    command = [sys.executable, "-c", run, "benchmark", str(tmp_path / "plan.yaml")]
    with (tmp_path / "messages").open("w") as messages:
        process = subprocess.Popen([*command, "--out", str(out)], stderr=messages)
    while not list(out.rglob("log*.jsonl")):  # it trains
        assert process.poll() is None, (tmp_path / "messages").read_text()
        time.sleep(0.1)
    second = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert second.returncode == 1
    assert f"{out} is being written by another mambaad process" in second.stderr
    parent = psutil.Process(process.pid)
    helpers = parent.children()  # such as the server that the training was forked from
    trainings = [child for child in parent.children(recursive=True) if child not in helpers]
    assert trainings
    process.kill()
    process.wait()
    assert _have_ended(trainings, within=20)
    assert _have_ended(helpers, within=120)  # it has PyTorch to take down


def _have_ended(processes: list[psutil.Process], within: float) -> bool:
    until = time.monotonic() + within
    while any(_is_alive(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.1)
    return not any(_is_alive(process) for process in processes)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
