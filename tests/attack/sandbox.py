"""Commands run in forked copies of a process that has the package imported (``zygote.py``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
OUTPUT_READ = 2**20
"""Characters read of a command's output; its size is measured whole."""

_LIMITS = {"RLIMIT_AS": 3 * 2**30, "RLIMIT_FSIZE": 2**30, "RLIMIT_CORE": 0}
"""Nothing here needs more; without them a mistake could take the machine's memory or disk."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    ``code``: its exit code, or minus the signal that ended it. ``memory``: the most it held, in
    MiB, of which what was imported is a few hundred. ``output_size``: of both streams, in bytes.
    """

    code: int
    out: str
    err: str
    output_size: int
    seconds: float
    memory: float
    timed_out: bool
    temporary: Path


class Running:
    """A command that was started: its process, which leads a session of its own."""

    def __init__(self, folder: Path, temporary: Path | None = None) -> None:
        self.folder, self.temporary = folder, temporary or folder / "tmp"
        self.pid = 0
        self.begun, self.ended = threading.Event(), threading.Event()
        self.answer: dict[str, float] = {}
        self.since = time.monotonic()

    def send(self, number: int, *, to_all: bool = False) -> None:
        """Send a signal to the process alone, or as a terminal does to its group, if it runs."""
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                (os.killpg if to_all else os.kill)(self.pid, number)

    def survivors(self) -> list[int]:
        """What still runs of a command that has ended: its session, and whatever has its $TMPDIR.

        (A process that begins a session of its own inherits the environment.)
        """
        marker = f"TMPDIR={self.temporary}".encode()
        found = set(session_of(self.pid))
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if marker in path.read_bytes().split(b"\0"):
                    found.add(int(path.parent.name))
        return sorted(found)

    def wait(self, limit: float = 60.0) -> Ended:
        """Wait for the end; a process beyond the limit is killed, with all of its session."""
        in_time = self.ended.wait(limit)
        if not in_time:
            for pid in (self.pid, *session_of(self.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.ended.wait(30)
        seconds = time.monotonic() - self.since
        files = (self.folder / "stdout", self.folder / "stderr")
        texts = []
        for path in files:
            with path.open("rb") as file:
                texts.append(file.read(OUTPUT_READ).decode("utf-8", "replace"))
        return Ended(
            int(self.answer.get("code", -9)),
            *texts,
            sum(path.stat().st_size for path in files),
            seconds,
            self.answer.get("memory", 0.0),
            not in_time,
            self.temporary,
        )


def session_of(pid: int) -> list[int]:
    """The living processes of the session that a process leads or led."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


class Sandbox:
    """Runs commands, each in a process and with a temporary folder of its own.

    Args:
        folder: for what the commands print, and their temporary folders.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._count = 0
        self._running: dict[int, Running] = {}
        self._lock = threading.Lock()
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        paths = f"{PROJECT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, **threads, "PYTHONPATH": paths, "COLUMNS": "100"}
        environment |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=PROJECT,
            env=environment,
        )
        assert self._process.stdout is not None
        self.pid = json.loads(self._process.stdout.readline())["ready"]
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        call: str | None = None,
        cwd: Path | None = None,
        limits: Mapping[str, int] | None = None,
        umask: int = 0o022,
        unprivileged: bool = False,
        temporary: Path | None = None,
    ) -> Running:
        """Start ``mambaad`` with arguments, or a function ``"module:name"`` with them.

        Args:
            argv: the arguments.
            call: the function; errors of the package are shown as the command line shows them.
            cwd: the working directory.
            limits: by name of :mod:`resource`; that of memory is on top of what is imported.
            umask: of the process.
            unprivileged: whether permissions count for it, as they do not for root.
            temporary: its folder for temporary files, if another command is to have it too.
        """
        with self._lock:
            self._count += 1
            number = self._count
            running = Running(self.folder / str(number), temporary)
            running.temporary.mkdir(parents=True, exist_ok=True)
            running.folder.mkdir(exist_ok=True)
            self._running[number] = running
            job = {
                "id": number,
                "argv": [str(argument) for argument in argv],
                "call": call,
                "cwd": str(cwd or running.folder),
                "stdout": str(running.folder / "stdout"),
                "stderr": str(running.folder / "stderr"),
                "environment": {"TMPDIR": str(running.temporary), "HOME": str(running.folder)},
                "limits": {**_LIMITS, **(limits or {})},
                "umask": umask,
                "unprivileged": unprivileged,
            }
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        if not running.begun.wait(60):
            raise RuntimeError("the process that runs the commands has ended")
        return running

    def run(self, argv: Sequence[str | Path], *, limit: float = 60.0, **options: object) -> Ended:
        """Run to the end; see :meth:`start`."""
        return self.start(argv, **options).wait(limit)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the process that runs the commands, and what still runs."""
        for running in list(self._running.values()):
            if running.begun.is_set() and not running.ended.is_set():
                running.wait(0)
        self._process.kill()
        self._process.communicate()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._lock:
                running = self._running[answer["id"]]
            if "pid" in answer:
                running.pid = answer["pid"]
                running.begun.set()
            else:
                running.answer = answer
                running.ended.set()
                with self._lock:
                    del self._running[answer["id"]]
