"""Tables of images: each row is read as it is meant, or refused in a line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layout_file import as_setting
from mambaad.data.layouts import class_names, read_data
from mambaad.errors import DataError
from tests.data.readers.test_described import draw, told

HEAD = "image,split,label,mask\n"
ROWS = "a/0.png,train,good,\na/1.png,train,good,\na/2.png,test,good,\na/3.png,test,hole,m/3.png\n"
READ = {
    "parts": (
        ["a/0.png", "a/1.png"],
        ["a/2.png good", "a/3.png hole m/3.png"],
    )
}
LAYOUT = as_setting({"table": "split.csv"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    draw(folder, *(f"a/{i}.png" for i in range(4)), "m/3.png")
    draw(tmp_path, "outside.png")
    return folder


def read(root: Path, content: str | bytes, layout: str | None = LAYOUT):
    if isinstance(content, str):
        content = content.encode()
    (root / "split.csv").write_bytes(content)
    return told(root, read_data(root, layout=layout))


def test_a_table(tmp_path: Path) -> None:
    draw(tmp_path, *(f"img/{i}.png" for i in range(6)), "m/5.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "split.csv").write_text(
        "file;set;state;gt;part\nimg/0.png;Train;OK;;ü\nimg/1.png;train;ok;;u\u0308\n"
        "img/2.png;val;OK;;ü\nimg/3.png;train;NG;;ü\nimg/4.png;test;OK;;ü\n"
        "img/5.png;test;hole;m/5.png;ü\n",
        encoding="utf-8",
    )
    names = {"image": "file", "split": "set", "label": "state", "mask": "gt", "class": "part"}
    given = {"table": "lists/split.csv", "columns": names, "good": "ok"}
    layout = as_setting(given)
    assert told(tmp_path, read_data(tmp_path, layout=layout)) == {
        "ü": (["img/0.png", "img/1.png"], ["img/4.png good", "img/5.png hole m/5.png"])
    }
    inventory = check_data(tmp_path, layout=layout, quick=True)
    assert {one.path.name for one in inventory.unread} == {"2.png", "3.png", "split.csv"}
    with pytest.raises(DataError, match=r"has no column 'nope' \(label\); its columns are file"):
        read_data(tmp_path, layout=as_setting({**given, "columns": {**names, "label": "nope"}}))


@pytest.mark.parametrize(
    "content",
    [
        HEAD + ROWS,
        (HEAD + ROWS).replace(",", ";"),
        (HEAD + ROWS).replace(",", "\t"),
        (HEAD + ROWS).replace("\n", "\r\n"),
        (HEAD + ROWS).replace("\n", "\r"),
        "\ufeff" + HEAD + ROWS,
        "\n\n" + HEAD + "\n" + ROWS.replace("\n", "\n\n") + ",,,\n",
        (HEAD + ROWS).replace(",", " , "),
        HEAD + ROWS.replace("a/0.png", '"a/0.png"').replace("hole", '"hole"'),
        '"image";"split, of rows";label;mask\n' + ROWS.replace(",", ";"),
        (HEAD + ROWS).replace("a/", "./a/").replace("m/", "a/../m/"),
        (HEAD + ROWS).replace("a/", "a\\").replace("m/", "m\\"),
        HEAD + ROWS.rstrip("\n"),
        HEAD + ROWS.replace("good,\n", "good\n"),  # Excel leaves out empty cells at the end
        "image,note,split,label,mask\n" + ROWS.replace(".png,t", '.png,"a, ""b""\nc",t'),
        HEAD + ROWS.replace("train", "Training").replace("test", "TEST"),
        HEAD + ROWS.replace("good", "GOOD"),
    ],
)
def test_ways_to_write_the_same(root: Path, content: str) -> None:
    layout = LAYOUT
    if "of rows" in content:
        layout = as_setting({"table": "split.csv", "columns": {"split": "split, of rows"}})
    assert read(root, content, layout) == READ


def test_paths_from_the_root_or_from_the_table(root: Path) -> None:
    absolute = ROWS.replace("a/", f"{root.resolve()}/a/").replace("m/", f"{root.resolve()}/m/")
    assert read(root, HEAD + absolute) == READ
    (root / "lists").mkdir()
    (root / "lists" / "split.csv").write_text(HEAD + ROWS.replace("a/", "../a/"))
    layout = as_setting({"table": "lists/split.csv"})
    assert told(root, read_data(root, layout=layout)) == READ


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a/2.png,tset,good,", "expected the split train, test or val, got 'tset'"),
        ("a/2.png,0,good,", "expected the split train, test or val, got '0'"),
        ("a/2.png,,good,", "it has no split"),
        ("a/2.png,test,,", "it has no label"),
        (",test,good,", "it has no image"),
        (f"a/2.png{chr(0) * 700},test,good,", "its image has the character 0; correct or remove"),
        ("a/0.png,test,good,", "is listed in line 2 too, for train, and here for test; remove one"),
        ("a/0.png,val,good,", "is listed in line 2 too, for train, and here for nothing"),
        ("./a/1.png,train,good,", "./a/1.png is listed in line 3 too; remove one"),
        ("../outside.png,test,good,", "expected a path below .*parts, got '../outside.png'"),
        ("a/../../outside.png,test,good,", "expected a path below"),
        ("/etc/hosts,test,good,", "expected a path below .*, got '/etc/hosts'"),
        ("a/2.png,test,hole,../outside.png", "expected a path below"),
        ("a/9.png,test,good,", r"9.png is listed in .*split.csv, line 4, but is missing; correct"),
        ("a/2.png,test,hole,m/9.png", r"m/9.png is listed in .*, line 4, as the mask of 2.png but"),
        ("a/2.png,test,good,,more", r"has 5 cells, expected 4 \(image, split, label, mask\)"),
        ("a/2.png,test,a,b,c", "has 5 cells, expected 4"),
        ('"a/2.png"x,test,good,', "cannot be read as CSV"),
        (f"a/{'x' * 300}.png,test,good,", "is missing"),
        ("a/\x00.png,test,good,", "line 4"),
    ],
)
def test_a_row_without_a_clear_meaning_is_named(root: Path, row: str, complaint: str) -> None:
    lines = [*ROWS.splitlines()[:2], row, "a/3.png,test,hole,m/3.png"]
    with pytest.raises(DataError, match=complaint) as caught:
        read(root, HEAD + "\n".join(lines) + "\n")
    assert "\n" not in str(caught.value)
    assert "line 4" in str(caught.value)
    assert "download" not in str(caught.value)
    if "cells" not in complaint and "CSV" not in complaint:  # one problem, and the rest is read
        problems = check_data(root, layout=LAYOUT, quick=True).problems
        assert len(problems) == 1 + ("m/9.png" in row)  # and a defect without its mask


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (HEAD.encode(), "lists no images"),
        (ROWS.encode(), r"has no column 'image' \(image\); its columns are a/0.png, train, good"),
        (b"image,image\na,b\n", "has 2 columns 'image'"),
        (HEAD.encode() + b"a/\xfc.png,train,good,\n", "is not in UTF-8"),
        ((HEAD + ROWS).encode("utf-16"), "is not in UTF-8"),
        ((HEAD + ROWS.replace("good", "OK")).encode(), "labels OK, hole, none of which is good"),
        ((HEAD + ROWS[:20]).encode(), "1 images to train class parts on, .* list more, or leave"),
    ],
)
def test_a_table_that_cannot_be_used(root: Path, content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read(root, content)
    assert "\n" not in str(caught.value)
    assert str(root / "split.csv") in str(caught.value)


def test_files_and_folders_that_are_absent(root: Path) -> None:
    with pytest.raises(DataError, match=r"split.csv cannot be read"):
        read_data(root, layout=LAYOUT)
    with pytest.raises(DataError, match="is not a folder"):
        class_names(root / "gone", layout=LAYOUT)


def test_classes_without_a_label_are_named_too(root: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: it has no class"):
        read(root, "image,class\na/0.png,x\na/1.png,\n")
    assert set(read(root, "image,class\na/0.png,1\na/1.png,1\na/2.png,02\na/3.png,02\n")) == {
        "1",
        "02",
    }
