"""The files that are inspected, and those that are named instead; no model is needed."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import DataError
from mambaad.workflows.predict_inputs import find_inputs, remove_former
from tests.data.trees import grow, present

POSIX = pytest.mark.skipif(sys.platform != "linux", reason="such names and links are Linux's")


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)
    return path


def found(*given: Path, out: Path, report: Path | None = None) -> list[str]:
    top = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in given]))
    inputs = find_inputs(given, out, report)
    return sorted([p.as_posix() for p in inputs.targets.values()]) + [
        f"not {one.path.relative_to(top).as_posix()}" for one in inputs.unread
    ]


@POSIX
@pytest.mark.parametrize("seed", range(20))
def test_inspected_and_named_together_are_all_that_is_there(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    root = tmp_path / "root"
    grow(tmp_path / "outside", random, tmp_path / "outside", depth=1)
    grow(root, random, tmp_path / "outside")
    image(root / "one.png")
    inputs = find_inputs([root, root], tmp_path / "out", None)
    named = [one.path for one in inputs.unread]
    assert sorted([*inputs.targets, *named]) == sorted(present(root, set(named)))


@POSIX
def test_hidden_folders_links_and_other_suffixes(tmp_path: Path) -> None:
    line = tmp_path / "line"
    for name in ("part.png", ".Trash-1000/a.png", "@eaDir/part.png/thumb.png"):
        image(line / name)
    image(tmp_path / "elsewhere" / "b.png")
    (line / "linked").symlink_to("../elsewhere")
    (line / "up").symlink_to("..")
    (line / "c.gif").write_bytes(b"GIF")
    assert found(line, out=tmp_path / "out") == [
        "linked/b.png",
        "part.png",
        "not .Trash-1000",
        "not @eaDir",
        "not c.gif",
        "not up",
    ]
    usual = {one.path.name: one.is_usual for one in find_inputs([line], line, None).unread}
    assert usual == {".Trash-1000": True, "@eaDir": True, "c.gif": False, "up": False}


def test_what_is_named_is_inspected_whatever_its_name(tmp_path: Path) -> None:
    line = tmp_path / "line"
    hidden = image(line / ".a.png")
    odd = image(line / "b.png").rename(line / "b")
    assert found(line, hidden, odd, out=tmp_path) == [".a.png", "b"]


@POSIX
def test_what_cannot_be_inspected_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="is no regular file"):
        find_inputs([tmp_path / "pipe.png"], tmp_path, None)
    (tmp_path / "nowhere.png").symlink_to("gone")
    with pytest.raises(DataError, match="does not exist"):
        find_inputs([tmp_path / "nowhere.png"], tmp_path, None)
    with pytest.raises(DataError, match=r"too long\); shorten the names"):
        find_inputs([tmp_path / ("a" * 300 + ".png")], tmp_path, None)
    (tmp_path / "a.gif").write_bytes(b"-")
    with pytest.raises(DataError, match=r"no images in .* \(not read: 1 \.gif, "):
        find_inputs([tmp_path], tmp_path, None)


@POSIX
def test_results_inside_the_input_are_no_input(tmp_path: Path) -> None:
    line = tmp_path / "line"
    image(line / "a.png")
    for out in ("out", "former", "."):  # that of this call, and those of earlier ones
        image(line / out / "a.png.heatmap.png")
        for name in ("a.png.map.npy", "predictions.csv", "predictions.jsonl"):
            (line / out / name).write_bytes(b"-")
    for page in ("page", "former page"):
        image(line / page / "pictures" / "000001.jpg")
        for name in ("000001.why.jpg", "000001.heat.webp", "000001.outline.png"):
            image(line / page / "pictures" / name)
        (line / page / "index.html").write_text("-")
    (tmp_path / "link").symlink_to(line / "out")
    inputs = find_inputs([line], tmp_path / "link", line / "page")
    assert [p.as_posix() for p in inputs.targets.values()] == ["a.png"]
    assert inputs.unread == ()
    image(line / "mine" / "pictures" / "000001.jpg")  # no page beside it
    image(line / "cam.heatmap.png")  # no map beside it
    assert len(find_inputs([line], line / "out", None).targets) == 3


def test_a_file_that_still_grows_is_found(tmp_path: Path) -> None:
    quiet, old, growing = (image(tmp_path / f"{name}.png") for name in ("a", "b", "c"))
    os.utime(old, (0, 0))
    inputs = find_inputs([tmp_path], tmp_path / "out", None)
    assert set(inputs.young) == {quiet, growing}

    def write() -> None:
        time.sleep(0.3)
        with growing.open("ab") as file:
            file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    assert inputs.still_written() == {growing}
    writer.join()
    os.utime(quiet, (0, 0))
    os.utime(growing, (0, 0))
    started = time.monotonic()
    assert find_inputs([tmp_path], tmp_path / "out", None).still_written() == set()
    assert time.monotonic() - started < 0.5


def test_former_results_are_removed_in_pairs_only(tmp_path: Path) -> None:
    def pair(name: str) -> None:
        image(tmp_path / f"{name}.heatmap.png")
        (tmp_path / f"{name}.map.npy").write_bytes(b"-")

    for name in ("kept.png", "old.png", "sub/old.png", "other/its own.png"):
        pair(name)
    (tmp_path / "other" / "predictions.jsonl").write_bytes(b"")
    image(tmp_path / "mine.heatmap.png")
    (tmp_path / "mine too.map.npy").write_bytes(b"-")
    assert remove_former(tmp_path, {tmp_path / "kept.png"}) == 2
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == [
        "kept.png.heatmap.png",
        "kept.png.map.npy",
        "mine too.map.npy",
        "mine.heatmap.png",
        "other/its own.png.heatmap.png",
        "other/its own.png.map.npy",
        "other/predictions.jsonl",
    ]
