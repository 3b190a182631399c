"""Files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.errors import RunError
from mambaad.files import write_text, written_whole


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


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RunError, match="cannot be written"), written_whole(path):
        pass
    assert path.read_text() == "old"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    with pytest.raises(RunError, match="no regular file"), written_whole(tmp_path / "link"):
        pass
    assert not Path("/dev/null").is_file()


def test_a_name_that_is_too_long_is_to_be_shortened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"too long\); .* shorten the names of files and folders"):
        write_text(tmp_path / ("a" * 300), "text")
    assert list(tmp_path.iterdir()) == []
