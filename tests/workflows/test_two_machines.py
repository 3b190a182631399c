"""Training on two machines, as two agents of torchrun: one of them is killed, or falls silent."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import mambaad
from mambaad.artifacts.run_folder import read_log
from tests.conftest import SMALL
from tests.runs import read
from tests.workflows.test_torchrun import SCRIPT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and namespaces of Linux")

SETTINGS: dict[str, Any] = {**SMALL, "lr": 1e-4, "epochs": 3}
PATIENCE = 900  # seconds until a training must have begun or ended, on a machine that is busy


class Machines:
    """Two agents of torchrun with a process each, and what they print."""

    def __init__(self, folder: Path, prefixes: list[list[str]], address: str, port: int) -> None:
        self.folder = folder
        self._prefixes = prefixes
        self._options = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", address]
        self._options += ["--master-port", str(port)]
        self.agents: list[subprocess.Popen[bytes]] = []
        self.cut: Callable[[], None] = lambda: None

    def start(self, *arguments: Any, **environment: str) -> None:
        paths = os.pathsep.join(sys.path)
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment}
        for rank, prefix in enumerate(self._prefixes):
            command = [*prefix, sys.executable, "-m", "torch.distributed.run", *self._options]
            command += ["--node-rank", str(rank), *map(str, arguments)]
            with (self.folder / f"log-{rank}").open("wb") as log:
                self.agents.append(subprocess.Popen(command, stderr=log, env=variables))

    def said(self, rank: int) -> str:
        return (self.folder / f"log-{rank}").read_text(errors="replace")

    def end(self) -> None:
        for agent in self.agents:
            agent.terminate()
        for agent in self.agents:
            agent.wait(60)


def wait_until(there_is: Callable[[], Any], seconds: float) -> float:
    """Wait for something, and return how long that took."""
    began = time.monotonic()
    while not there_is():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture
def on_loopback(tmp_path: Path) -> Iterator[Machines]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = Machines(tmp_path, [[], []], "127.0.0.1", port)
    yield machines
    machines.end()


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Machines]:
    """Two machines with a cable between them: network namespaces of the kernel."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs the right to make network namespaces, and ip")
    names = [f"mambaad-{os.getpid()}-{number}" for number in range(2)]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    with ExitStack() as stack:
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"needs the right to make network namespaces: {error.stderr!r}")
            stack.callback(ip, "netns", "del", name)
        ends = [f"m{os.getpid() % 10**6}-{number}" for number in range(2)]
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True)):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "link", "set", end, "name", "cable")
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        prefixes = [["ip", "netns", "exec", name] for name in names]
        machines = Machines(tmp_path, prefixes, "10.77.0.1", 29500)
        machines.cut = lambda: ip("-n", names[1], "link", "set", "cable", "down")
        stack.callback(machines.end)
        yield machines


def test_a_machine_is_killed_and_the_rest_resumes_without_it(parts, tmp_path, on_loopback):
    run = tmp_path / "run"
    settings = {**SETTINGS, "kill": [1, 5], "kills_node": True}
    on_loopback.start(SCRIPT, parts, run, tmp_path, json.dumps(settings))
    killed = tmp_path / "killed"
    wait_until(killed.exists, PATIENCE)
    wait_until(lambda: "is gone" in on_loopback.said(0), 60)
    assert on_loopback.agents[0].wait(PATIENCE) != 0
    lines = [line for line in on_loopback.said(0).splitlines() if "resume with: " in line]
    assert "process 1 of 2 is gone" in lines[0]
    assert "torchrun as before, on every machine" in lines[0]
    mambaad.train(parts, run, resume=True, devices=1)  # what is left of them
    one = mambaad.train(parts, tmp_path / "one", **SETTINGS)
    losses, expected = ([r["loss"] for r in read(read_log, r)] for r in (run, one))
    assert losses == pytest.approx(expected, rel=5e-3)


def test_a_machine_that_falls_silent_ends_both_within_a_minute(parts, tmp_path, apart):
    arguments = SCRIPT, parts, tmp_path / "run", tmp_path
    settings = {**SETTINGS, "epochs": 1000}
    apart.start(*arguments, json.dumps(settings), GLOO_SOCKET_IFNAME="cable")
    wait_until((tmp_path / "step-1").exists, PATIENCE)
    apart.cut()
    for rank in range(2):
        wait_until(lambda rank=rank: f"process {1 - rank} of 2 is gone" in apart.said(rank), 60)
        assert "resume with: torchrun as before" in apart.said(rank)
