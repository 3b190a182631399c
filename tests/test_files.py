"""Files are there whole or not at all."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mambaad import files
from mambaad.errors import RunError
from mambaad.files import (
    LOCK,
    TEMPORARY,
    check_writable,
    file_digest,
    folder_written_whole,
    is_empty,
    is_own,
    locked,
    open_regular,
    printable,
    read_regular,
    sweep,
    write_text,
    written_whole,
)
from tests.killing import kill_at_every_change


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
_NO_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from mambaad.files import folder_written_whole, write_text
place = Path(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
try:
    with folder_written_whole(place / "data") as folder:
        (folder / "train" / "good").mkdir(parents=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        (folder / "train" / "good" / "0.png").open("w")
except Exception as error:
    print(error)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
print("left:", sum(path.name.endswith("tmp") for path in place.iterdir()))
write_text(place / "next", "")
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


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_what_cannot_be_removed_for_want_of_descriptors_goes_with_the_next_file(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NO_DESCRIPTORS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Too many open files" in done.stdout
    assert "left: 1" in done.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "next"]


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


def test_what_is_printable_reads_as_it_is_written():
    assert printable("né 日本 שלום 👩‍🔧/a b.png") == "né 日本 שלום 👩‍🔧/a b.png"
    for code in (0, 9, 10, 27, 127, 0x9B, 0x61C, 0x200E, 0x200F, 0x2028, 0x202A, 0x202E, 0x2069):
        shown = printable(f"a{chr(code)}b")
        assert shown.isascii()
        assert shown.isprintable()
        assert ast.literal_eval(f"'{shown}'") == f"a{chr(code)}b"
    assert printable(b"\xff.png".decode("utf-8", "surrogateescape")) == r"\xff.png"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "not read-only"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
    ],
)
def test_the_advice_fits_the_error(tmp_path: Path, number: int, advice: str) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "a"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(RunError) as caught:
        fail()
    assert str(caught.value).startswith(
        f"{tmp_path / 'a'} cannot be written ({os.strerror(number)}"
    )
    assert advice in str(caught.value)
    assert ("free some" in str(caught.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_a_long_name_is_called_long(tmp_path: Path) -> None:
    for act in (write_text, lambda path, _: check_writable(path)):
        with pytest.raises(RunError, match=r"File name too long.; choose a shorter name"):
            act(tmp_path / ("a" * 300), "text")
    assert not list(tmp_path.iterdir())


def test_outputs_are_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/full"), Path("/dev/stdout"), Path("/dev/fd/1"), tmp_path):
        for act in (check_writable, lambda path: write_text(path, "text")):
            with pytest.raises(RunError, match="is no regular file, so it is not replaced"):
                act(path)
    assert list(tmp_path.iterdir()) == [pipe]


def test_standard_output_that_is_a_file_is_not_replaced(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom mambaad.files import write_text\nprint('text')\n"
        "write_text(Path('/dev/stdout'), 'more')\n"
    )
    with (tmp_path / "out").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=file, stderr=subprocess.PIPE, text=True
        )
    assert "RunError: /dev/stdout is no regular file" in done.stderr
    assert (tmp_path / "out").read_text() == "text\n"


def test_two_processes_do_not_make_the_same_folder(tmp_path: Path) -> None:
    process = _held(f"folder_written_whole(Path({str(tmp_path / 'a')!r}))")
    try:
        with pytest.raises(RunError, match="a is being written by another"):
            folder_written_whole(tmp_path / "a").__enter__()
        with folder_written_whole(tmp_path / "b"):
            pass
    finally:
        _end(process, signal.SIGINT)
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_a_long_lived_process_sweeps_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a", "text")
    left = tmp_path / f".left{TEMPORARY}"
    left.touch()
    write_text(tmp_path / "a", "text")
    assert left.exists()  # looked at a moment ago
    monkeypatch.setattr(files, "_SWEEP_AGAIN", 0.0)
    write_text(tmp_path / "a", "text")
    assert not left.exists()


def test_without_locks_only_what_is_old_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "claim", lambda path: None)  # as where there are no locks
    old, young = tmp_path / f".old{TEMPORARY}", tmp_path / f".young{TEMPORARY}"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    with folder_written_whole(tmp_path / "folder"):
        pass
    write_text(tmp_path / "a", "text")
    assert {path.name for path in tmp_path.iterdir()} == {young.name, "a", "folder"}


def test_what_may_not_be_written_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")  # to itself
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "link" / "a", "text")
    (tmp_path / ".user.mambaad").touch()
    (tmp_path / "mambaad.lock").touch()
    assert is_own(LOCK)
    assert not is_empty(tmp_path)
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes a second user")
def test_another_users_folder_is_named_with_the_permission(tmp_path: Path) -> None:
    # As another user, who may search the way to the folder but not write there.
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from mambaad.errors import RunError\n"
        "from mambaad.files import check_writable, locked, open_regular, write_text\n"
        "from mambaad.file_errors import cannot_read\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "for act in (check_writable, lambda path: write_text(path, 'text'),\n"
        "            lambda path: locked(path.parent).__enter__()):\n"
        "    try:\n        act(Path('a'))\n    except RunError as error:\n        print(error)\n"
        "try:\n    open_regular(Path('secret'))\n"
        "except OSError as error:\n    print(cannot_read('secret', error))\n"
    )
    (tmp_path / "secret").touch(0o600)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        ". cannot be written; choose another folder",
        f"{tmp_path / 'a'} cannot be written (Permission denied); ask for the permission to write "
        "there, or choose another path",
        ". cannot be written (Permission denied); ask for the permission to write there, or choose "
        "another path",
        "secret cannot be read (Permission denied); ask for the permission to read it",
    ], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


_MAKING = """
from mambaad.files import folder_written_whole, locked
def make(path):
    if not path.exists():  # killed after all was done
        with folder_written_whole(path) as folder:
            (folder / "b").touch()
def write(folder):
    with locked(folder, make=True):
        write_text(folder / "b", "text")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills as other systems do")
@pytest.mark.parametrize(
    ("action", "kills", "names"),
    [
        ("write_text(place / 'a', 'text')", 4, ["a"]),
        ("make(place / 'a')", 6, ["a", "b"]),
        ("write(place / 'a')", 7, ["a", "b"]),
    ],
)
def test_no_moment_of_a_kill_leaves_anything(
    tmp_path: Path, action: str, kills: int, names: list[str]
) -> None:
    place = tmp_path / "here"
    place.mkdir()
    assert kill_at_every_change(action, place, setup=_MAKING) >= kills
    assert sorted(path.name for path in place.rglob("*")) == names
