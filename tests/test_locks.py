"""Locks end with their process, and leave nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mambaad import locks
from mambaad.errors import RunError
from mambaad.locks import LOCK, claim, held, locked

if TYPE_CHECKING:
    pass

_HOLD = """
import sys, time
from pathlib import Path
from mambaad.locks import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holding():
    """Start a process that holds a folder's lock, for so many seconds; it is killed at the end."""
    processes = []

    def start(folder: Path, seconds: float = 60) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _HOLD, str(folder), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


Holding = "Callable[..., subprocess.Popen[str]]"


def test_a_second_process_is_refused_at_once_and_a_killed_one_is_no_obstacle(
    tmp_path: Path, holding: Holding
) -> None:
    process = holding(tmp_path)
    began = time.monotonic()
    with pytest.raises(RunError, match="is being written by another mambaad process; wait"):
        locked(tmp_path).__enter__()
    assert time.monotonic() - began < 2
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]  # a stale lock
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_one_can_wait_for_the_lock(tmp_path: Path, holding: Holding) -> None:
    holding(tmp_path, 0.5)
    with locked(tmp_path, wait=30):
        assert (tmp_path / LOCK).exists()


def test_threads_exclude_each_other_and_one_may_lock_again(tmp_path: Path) -> None:
    refused = []

    def second() -> None:
        try:
            with locked(tmp_path):
                pass
        except RunError as error:
            refused.append(error)

    thread = threading.Thread(target=second)
    with locked(tmp_path):
        with locked(tmp_path / "." / ""):
            pass
        thread.start()
        thread.join()
        assert (tmp_path / LOCK).exists()
    assert len(refused) == 1


def test_many_processes_take_turns(tmp_path: Path) -> None:
    # Each reads a number and writes the next one: what is lost shows that two were inside.
    (tmp_path / "number").write_text("0")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom mambaad.locks import locked\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(25):\n"
        "    with locked(folder, wait=60):\n"
        "        number = int((folder / 'number').read_text())\n"
        "        time.sleep(0.001)\n"
        "        (folder / 'number').write_text(str(number + 1))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "75"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_the_folder_is_made_if_wanted(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"new cannot be written .No such file"):
        locked(tmp_path / "new").__enter__()
    with locked(tmp_path / "new" / "one", make=True):
        assert (tmp_path / "new" / "one" / LOCK).exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file cannot be written .File exists"):
        locked(tmp_path / "file", make=True).__enter__()


def test_a_lock_that_moved_away_is_not_another_ones(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with locked(folder, make=True):
        folder.rename(tmp_path / "b")
        folder.mkdir()
        (folder / LOCK).touch()  # of whoever is next
    assert (folder / LOCK).exists()


def test_a_file_system_without_locks_is_worked_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", unknown)
    with locked(tmp_path), held(tmp_path / "other", tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert claim(tmp_path / "file") is None


def test_the_umask_gives_a_locks_mode(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        with locked(tmp_path):
            assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_a_file_is_claimed_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    first = claim(path)
    assert first is not None
    with pytest.raises(BlockingIOError):
        claim(path)
    os.close(first)
    second = claim(path)
    assert second is not None
    os.close(second)
    with pytest.raises(BlockingIOError):
        claim(tmp_path / "absent")
