"""Pipes, devices, folders, huge files and files of other users in the place of what is read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mambaad.data.decoding import decode
from mambaad.data.exclusion import read_exclusions
from mambaad.data.mask_files import read_mask
from mambaad.data.opened import open_sample
from mambaad.data.readers.real_iad import _lists_images
from mambaad.data.readers.table import Table
from mambaad.data.walk import walk
from mambaad.errors import ConfigError, DataError
from mambaad.files import LOCK, TEMPORARY
from mambaad.types import MAX_PIXELS, Sample

READERS: dict[str, Callable[[Path], Any]] = {
    "image": lambda path: decode(path, MAX_PIXELS),
    "mask": read_mask,
    "exclusions": lambda path: read_exclusions(path, path.parent),
    "table": lambda path: Table(path.name).class_names(path.parent, "train"),
}


@pytest.fixture(params=["pipe", "/dev/zero", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    else:
        path.symlink_to(request.param)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(odd: Path, reader: str) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises((DataError, ConfigError), match=r"x.png cannot be read .it is no regular"):
        READERS[reader](odd)
    assert psutil.Process().memory_info().rss - before < 2**26


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_checks_of_data_say_it(odd: Path) -> None:
    assert open_sample(Sample(odd, "nut")).problem == (
        f"{odd} cannot be read (it is no regular file); give a file"
    )
    assert not _lists_images(odd)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_walk_names_them_and_passes_over_what_is_this_packages_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "y.png").symlink_to("/dev/zero")
    for name in (LOCK, f".a{TEMPORARY}"):
        (tmp_path / name).touch()
    (tmp_path / f".folder{TEMPORARY}").mkdir()
    found = walk(tmp_path)
    assert found.images == []
    assert [one.path.name for one in found.unread] == ["x.png", "y.png"]


def test_a_huge_file_that_is_no_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="cannot be read as an image"):
        decode(path, MAX_PIXELS)


def test_a_file_has_no_more_bytes_than_its_pixels_can_take(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(2**26 + 32 * 100 + 1)
    with pytest.raises(DataError, match=r"x.png cannot be read .it has more than 67112064 bytes"):
        decode(path, 100)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes a second user")
def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from mambaad.data.decoding import decode\n"
        "from mambaad.data.exclusion import read_exclusions\n"
        "from mambaad.data.readers.table import Table\n"
        "from mambaad.errors import MambaADError\n"
        "import encodings.utf_8_sig\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "table = lambda p: Table(p.name).class_names(p.parent, 'train')\n"
        "for read in (lambda p: decode(p, 100), lambda p: read_exclusions(p, p.parent), table):\n"
        "    try:\n        read(Path('x.png'))\n"
        "    except MambaADError as error:\n        print(error)\n"
    )
    (tmp_path / "x.png").touch(0o600)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    said = "x.png cannot be read (Permission denied); ask for the permission to read it"
    assert done.stdout.splitlines() == [said, f"--exclude: {said}", said], done.stderr
