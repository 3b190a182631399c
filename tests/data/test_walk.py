"""The one walk: every file is an image, or is named with a reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mambaad.data.walk import IMAGE_SUFFIXES, Unread, is_folder, is_image, is_open, text, walk
from tests.closed_folders import closed
from tests.data.conftest import WriteImage
from tests.data.trees import grow, present

POSIX = pytest.mark.skipif(sys.platform != "linux", reason="such names and links are Linux's")


def test_is_image() -> None:
    assert all(is_image(Path(f"a{suffix}")) for suffix in IMAGE_SUFFIXES)
    assert is_image(Path("A.PNG"))
    assert is_image(Path("a.Jfif"))
    assert not any(is_image(Path(name)) for name in ("._a.png", "a.txt", "Thumbs.db", "png"))


def walked(root: Path) -> tuple[list[str], dict[str, Unread]]:
    found = walk(root)
    names = [path.relative_to(root).as_posix() for path in found.images]
    return names, {one.path.relative_to(root).as_posix(): one for one in found.unread}


def test_what_is_hidden_or_the_systems_own_is_passed_over_and_counted(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for name in (".Trash-1000", "@eaDir/part.png", "$RECYCLE.BIN", "System Volume Information"):
        write_image(tmp_path / name / "a.png")
        write_image(tmp_path / name / "b.png")
    write_image(tmp_path / "._part.png")
    write_image(tmp_path / "part.png")
    images, unread = walked(tmp_path)
    assert images == ["part.png"]
    files = {name: one.files for name, one in unread.items()}
    assert files == {
        ".Trash-1000": 2,
        "@eaDir": 2,
        "$RECYCLE.BIN": 2,
        "System Volume Information": 2,
        "._part.png": 1,
    }
    assert all(one.is_usual for one in unread.values())


def test_a_hidden_folder_that_is_given_is_walked(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / ".cache" / "a.png")
    assert walked(tmp_path / ".cache")[0] == ["a.png"]


def test_other_suffixes_are_named(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.gif")
    texts = ("README", "LICENSE-DATASET", "notes.txt", "g.JSON", "Icon\r")
    for name in ("b.jp2", "c", "d.png.part", "e.png ", "f.dcm", *texts):
        (tmp_path / name).write_bytes(b"-")
    images, unread = walked(tmp_path)
    assert images == []
    assert {name for name, one in unread.items() if one.is_usual} == set(texts)
    assert "has the suffix '.gif', which is not read" in unread["a.gif"].reason
    assert "has no suffix" in unread["c"].reason
    assert {unread[name].kind for name in ("d.png.part", "b.jp2")} == {".part", ".jp2"}


@POSIX
def test_links(tmp_path: Path, write_image: WriteImage) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_image(root / "sub" / "a.png")
    write_image(outside / "deep" / "b.png")
    (outside / "back").symlink_to(root)
    for name, target in {
        "file.png": "sub/a.png",
        "inside": "sub",
        "around": "..",
        "itself": ".",
        "loop.png": "loop.png",
        "nowhere.png": "gone.png",
        "nowhere": "gone",
        "x": "../outside",
        "y": "../outside",
        "z": "../outside/deep",
        ".hidden": "../outside",
    }.items():
        (root / name).symlink_to(target)
    images, unread = walked(root)
    assert images == ["file.png", "sub/a.png", "x/deep/b.png"]
    assert {name: one.reason for name, one in unread.items()} == {
        ".hidden": "is hidden",
        "around": "is a link to a folder around it, which has no end",
        "inside": "is a link to a folder that is searched without it",
        "itself": "is a link to a folder that is searched without it",
        "loop.png": "is a link to nowhere",
        "nowhere": "is a link to nowhere",
        "nowhere.png": "is a link to nowhere",
        "x/back": "is a link to a folder that is searched without it",
        "y": "is a link to a folder that another link leads to",
        "z": "is a link to a folder that another link leads to",
    }
    assert [name for name, one in unread.items() if one.is_usual] == [".hidden"]


@POSIX
def test_a_folder_is_read_once_though_two_links_lead_into_it(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "outside" / "deep" / "b.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to("../outside/deep")
    (tmp_path / "root" / "b").symlink_to("../outside")
    images, unread = walked(tmp_path / "root")
    assert images == ["a/b.png"]
    assert "is read already" in unread["b/deep"].reason


@POSIX
def test_pipes_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    images, unread = walked(tmp_path)
    assert images == []
    assert unread["pipe.png"].reason == "is no regular file"


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o333])
def test_folders_that_may_not_be_looked_into_are_named(
    tmp_path: Path, write_image: WriteImage, mode: int
) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "shut" / "b.png")
    (tmp_path / "shut" / "link.png").symlink_to("b.png")
    assert is_open(tmp_path / "shut")
    with closed(tmp_path / "shut", mode=mode):
        images, unread = walked(tmp_path)
        assert not is_open(tmp_path / "shut")
        assert is_folder(tmp_path / "shut")
        assert not is_folder(tmp_path / "shut" / "deeper")  # and no error
    assert images == ["a.png"]
    assert unread["shut"].reason == "cannot be listed (Permission denied)"
    assert unread["shut"].is_closed
    assert not unread["shut"].is_usual
    assert not is_open(tmp_path / "gone")


def test_text() -> None:
    assert text("u\u0308") == "ü"
    assert text("teil_\udcfc") == r"teil_\xfc"
    assert text("two\nlines\x1b[31m") == r"two\nlines\x1b[31m"
    assert text("\ud800") == r"\ud800"


@POSIX
@pytest.mark.parametrize("seed", range(40))
def test_all_that_is_present_is_an_image_or_named(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    grow(tmp_path / "outside", random, tmp_path / "outside", depth=1)
    grow(tmp_path / "root", random, tmp_path / "outside")
    found = walk(tmp_path / "root")
    named = [one.path for one in found.unread]
    assert sorted([*found.images, *named]) == sorted(present(tmp_path / "root", set(named)))
    assert all(path.is_file() for path in found.images)
    for one in found.unread:
        if not one.path.is_symlink() and one.path.is_dir() and one.kind == "hidden":
            every = [name for _, _, names in os.walk(one.path) for name in names]
            assert one.files == len(every)
