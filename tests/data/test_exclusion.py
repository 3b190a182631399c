import os
import sys
from pathlib import Path

import pytest

from mambaad.data.exclusion import (
    check_share,
    exclusion_list,
    leave_out,
    list_beside,
    read_exclusions,
    relative_name,
    without,
)
from mambaad.data.layouts import read_data
from mambaad.errors import ConfigError, DataError
from mambaad.types import ProductClass, Sample

NAMES = ("bolt/train/good/001.png", "nut/train/good/004.png")


def named(classes, root):
    return [relative_name(s.path, root) for c in classes for s in c.train]


def test_a_list_is_read_as_it_was_written(tmp_path):
    names = (*NAMES, "# 3/train/good/0 # 1.png", "../beside/a b.png", "ü/x.png")
    path = tmp_path / "list.txt"
    path.write_text(exclusion_list(names, ["two lines", "of comments"]), encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith("# two lines\n# of comments\nbolt/")
    assert read_exclusions(path, tmp_path) == names
    assert read_exclusions(str(path), tmp_path) == names


def test_blank_lines_comments_and_the_ends_of_lines_do_not_count(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf# head\r\n\r\n  bolt/train/good/001.png \r\n#nut/x.png\r\n")
    assert read_exclusions(path, tmp_path) == NAMES[:1]


def test_paths_may_be_absolute_or_relative_to_the_data(tmp_path):
    given = [tmp_path / NAMES[0], NAMES[1], Path("./nut/../bolt/a.png")]
    assert read_exclusions(given, tmp_path) == (*NAMES, "bolt/a.png")


def test_a_list_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"--exclude: .*none\.txt cannot be read \(No such file"):
        read_exclusions(tmp_path / "none.txt", tmp_path)
    (tmp_path / "page.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot be read \(not text in UTF-8\)"):
        read_exclusions(tmp_path / "page.txt", tmp_path)


def test_named_images_are_left_out_of_training_and_nothing_else(parts):
    classes = read_data(parts)
    left = leave_out(classes, parts, NAMES)
    assert set(named(classes, parts)) - set(named(left, parts)) == set(NAMES)
    assert [len(c.train) for c in left] == [5, 5]
    assert [c.test for c in left] == [c.test for c in classes]
    assert leave_out(classes, parts, ()) == classes


def test_a_name_that_is_no_training_image(parts):
    classes = read_data(parts)
    wrong = [*NAMES, "nut/test/good/000.png", "nut/train/good/9.png"]
    with pytest.raises(ConfigError) as caught:
        leave_out(classes, parts, wrong)
    assert str(caught.value).startswith(
        f"--exclude: nut/test/good/000.png is not a training image of {parts} (nor are 1 others); "
    )
    assert len(without(classes, parts, wrong)[1].train) == 5  # where they may be others' names


def test_a_class_of_which_too_little_is_left(parts):
    names = [f"nut/train/good/{i:03}.png" for i in range(5)]
    with pytest.raises(DataError, match="leaves 1 of the 6 training images of class nut, expected"):
        leave_out(read_data(parts), parts, names)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_that_are_not_unicode(tmp_path):
    strange = tmp_path / os.fsdecode(b"nut/\xff.png")
    c = ProductClass("nut", tuple(Sample(tmp_path / f"{i}.png", "nut") for i in range(3)))
    c = ProductClass("nut", (*c.train, Sample(strange, "nut")))
    path = tmp_path / "list.txt"
    path.write_text(exclusion_list([relative_name(strange, tmp_path)], []), encoding="utf-8")
    assert len(leave_out([c], tmp_path, read_exclusions(path, tmp_path))[0].train) == 3


def test_a_list_lies_beside_its_page():
    assert list_beside(Path("a/page.html")) == Path("a/page.txt")
    with pytest.raises(ConfigError, match=r"--out: expected a page such as suspects\.html, got"):
        list_beside(Path("page.txt"))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_cannot_be(share):
    with pytest.raises(ConfigError, match="--share: expected a share above 0 and below 1, got"):
        check_share(share)
