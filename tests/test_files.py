"""Files are there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mambaad.errors import RunError
from mambaad.files import (
    LOCK,
    TEMPORARY,
    file_digest,
    folder_written_whole,
    locked,
    open_regular,
    read_regular,
    write_text,
    written_whole,
)


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("first, and longer", "zweite: ä"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with written_whole(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text("half of the ne")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    with pytest.raises(RunError, match="no regular file"), written_whole(tmp_path / "link"):
        pass
    assert not Path("/dev/null").is_file()


_HOLD = """
import sys, time
from pathlib import Path
from mambaad.files import folder_written_whole, locked, written_whole
with {context}:
    print("ready", flush=True)
    time.sleep(60)
"""


def _held(context: str) -> subprocess.Popen[str]:
    """A process that is within a context of this module's."""
    script = _HOLD.format(context=context)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("kind", ["written_whole", "folder_written_whole"])
def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path: Path, kind: str) -> None:
    process = _held(f"{kind}(Path({str(tmp_path / 'a')!r}))")
    _end(process, signal.SIGKILL)
    assert any(path.name.endswith(TEMPORARY) for path in tmp_path.iterdir())
    write_text(tmp_path / "b", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    process = _held(f"written_whole(Path({str(tmp_path / 'a')!r}))")
    try:
        write_text(tmp_path / "b", "text")
        assert len(list(tmp_path.iterdir())) == 2
    finally:
        _end(process, signal.SIGINT)
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]  # an exception leaves nothing


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def fail() -> None:
        with folder_written_whole(path) as temporary:
            (temporary / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())
    with folder_written_whole(path) as temporary:
        (temporary / "whole").touch()
        assert not path.exists()
    assert list(tmp_path.rglob("*")) == [path, path / "whole"]


def test_the_umask_gives_the_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_one_process_has_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), locked(tmp_path):  # again within the same process
        pass
    process = _held(f"locked(Path({str(tmp_path)!r}))")
    try:
        with pytest.raises(RunError, match="being written by another"), locked(tmp_path):
            pass
    finally:
        _end(process, signal.SIGKILL)
    with locked(tmp_path):  # a lock ends with its process
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(path)
        with pytest.raises(OSError, match="no regular file"):
            file_digest(path)


def test_reads_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"four")
    assert read_regular(path, 4) == b"four"
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_regular(path, 3)
