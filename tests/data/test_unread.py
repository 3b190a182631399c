"""What of a data set is read and what is named together are all that is there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from mambaad.data.checks import read_checked
from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout, read_data
from mambaad.data.unread import count_unread, list_data, name_some
from mambaad.data.walk import Unread
from mambaad.errors import DataError
from mambaad.files import printable
from mambaad.types import ProductClass
from tests.closed_folders import closed
from tests.data.conftest import WriteImage
from tests.data.trees import grow, present

POSIX = pytest.mark.skipif(sys.platform != "linux", reason="such names and links are Linux's")


@POSIX
@pytest.mark.parametrize("seed", range(30))
def test_read_and_named_together_are_all_that_is_there(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    root = tmp_path / "root"
    grow(tmp_path / "outside", random, tmp_path / "outside", depth=1)
    for folder in ("train/good", "train/Good", "test/good", "test/dent", "ground_truth/dent", "x"):
        grow(root / "nut" / folder, random, tmp_path / "outside", depth=2)
    grow(root / "other", random, tmp_path / "outside", depth=1)
    inventory = check_data(root, quick=True)
    mvtec = find_layout(root)
    classes = mvtec.read_classes(root, mvtec.class_names(root, "train"), "train", lambda line: None)
    read = {path for c in classes for s in (*c.train, *c.test) for path in s.files}
    named = {one.path for one in inventory.unread}
    assert not read & named
    assert read | named == set(present(root, named))
    listed = json.loads(inventory.to_json())["unread"]
    assert [one["path"] for one in listed] == [printable(one.path) for one in inventory.unread]
    for line in (*inventory.notes, *inventory.problems):
        assert "\n" not in line
        line.encode()


def test_images_in_sub_folders_are_read_with_their_masks(
    dataset: Path, write_image: WriteImage
) -> None:
    nut = dataset / "nut"
    for i, day in enumerate(("monday", "tuesday")):
        write_image(nut / "train/good" / day / "000.png")
        write_image(nut / "test/crack" / day / "000.png", height=9 + i)
        write_image(nut / "ground_truth/crack" / day / "000_mask.png", height=9 + i, mode="L")
    write_image(nut / "test/crack/wednesday/077.png")
    write_image(nut / "ground_truth/crack/077_mask.png", mode="L")
    inventory = check_data(dataset, quick=True)
    assert (inventory.problems, inventory.unread) == ((), ())
    assert inventory.to_rows()[-1][1:5] == ["8", "1", "5", "5"]
    masks = {s.path.relative_to(nut).as_posix(): s.mask_path for s in read_data(dataset)[1].test}
    assert masks["test/crack/monday/000.png"] == nut / "ground_truth/crack/monday/000_mask.png"
    assert masks["test/crack/wednesday/077.png"] == nut / "ground_truth/crack/077_mask.png"


def test_a_mask_whose_image_is_not_sure_is_a_problem(
    dataset: Path, write_image: WriteImage
) -> None:
    for day in ("monday", "tuesday"):
        write_image(dataset / "nut" / "test" / "crack" / day / "077.png")
    mask = write_image(dataset / "nut" / "ground_truth" / "crack" / "077_mask.png", mode="L")
    problems = check_data(dataset, quick=True).problems
    assert len(problems) == 3
    assert any(p.startswith(f"{mask} is a mask without an image") for p in problems)


def test_masks_in_another_case(dataset: Path, write_image: WriteImage) -> None:
    write_image(dataset / "nut" / "test" / "crack" / "IMG_7.JPG")
    write_image(dataset / "nut" / "ground_truth" / "crack" / "img_7_MASK.png", mode="L")
    assert check_data(dataset, quick=True).problems == ()


def test_masks_beside_the_images_are_no_images(dataset: Path, write_image: WriteImage) -> None:
    write_image(dataset / "nut" / "test" / "crack" / "gt" / "000.png", mode="L")
    before = read_data(dataset)
    inventory = check_data(dataset, quick=True)
    assert [s.path.parent.name for s in before[1].test] == ["crack", "crack", "good"]
    (note,) = [line for line in inventory.notes if "is not read" in line]
    assert str(dataset / "nut/test/crack/gt") in note


@POSIX
def test_names_in_two_forms_of_unicode(dataset: Path, write_image: WriteImage) -> None:
    nut = dataset / "nut"
    nut.rename(dataset / "mu\u0308tter")
    write_image(dataset / "mu\u0308tter/test/crack/u\u0308.png")
    write_image(dataset / "mu\u0308tter/ground_truth/crack/ü_mask.png", mode="L")
    (c,) = read_data(dataset, ["mütter"])
    assert c == read_data(dataset, ["mu\u0308tter"])[0]
    assert c.name == "mütter"
    assert c.test[2].mask_path == dataset / "mu\u0308tter/ground_truth/crack/ü_mask.png"


@POSIX
def test_names_that_are_no_utf_8(dataset: Path, write_image: WriteImage) -> None:
    folder = (dataset / "nut").rename(dataset / os.fsdecode(b"n\xfct"))
    write_image(folder / "train" / "good" / os.fsdecode(b"teil_\xfc.png"))
    (folder / "test" / "crack").rename(folder / "test" / os.fsdecode(b"ri\xdf"))
    (folder / "ground_truth" / "crack").rename(folder / "ground_truth" / os.fsdecode(b"ri\xdf"))
    for line in check_data(dataset).problems:  # of equal images
        line.encode()
    inventory = check_data(dataset, quick=True)
    assert inventory.problems == ()
    assert inventory.to_rows()[2] == [r"n\xfct", "4", "1", "2", "2", r"ri\xdf 2"]
    (c,) = read_checked(dataset, [r"n\xfct"])
    assert len(c.train) == 4


def test_training_says_what_it_passes_over(
    dataset: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    read_checked(dataset)
    assert capsys.readouterr().err == ""
    (dataset / "nut" / "train" / "good" / "077.jp2").write_bytes(b"-")
    write_image(dataset / "nut" / "train" / "good" / "078.gif", mode="L")
    write_image(dataset / "nut" / ".trash" / "079.png")
    read_checked(dataset)
    assert "not read: 1 .jp2, 1 .gif: " in capsys.readouterr().err
    inventory = check_data(dataset, quick=True)
    assert count_unread(inventory.unread) == "1 hidden, 1 .jp2, 1 .gif"
    assert len(inventory.notes) == 3  # two suffixes, and bolt has no tests


@pytest.mark.parametrize("name", ["Good", "OK", "normal", "0_ok", "Non_Defective"])
def test_good_parts_by_another_name_are_noted(dataset: Path, name: str) -> None:
    (dataset / "nut" / "test" / "good").rename(dataset / "nut" / "test" / name)
    notes = [line for line in check_data(dataset, quick=True).notes if name in line]
    assert len(notes) == 1
    assert "which count as defective" in notes[0]
    assert ("differs from 'good' by case only" in notes[0]) == (name == "Good")


def test_good_parts_by_another_name_are_hinted_at_where_training_has_none(dataset: Path) -> None:
    (dataset / "nut" / "train" / "good").rename(dataset / "nut" / "train" / "OK")
    (problem,) = check_data(dataset, quick=True).problems
    assert f"has 0 images, expected at least 2 of good parts; rename {dataset}" in problem
    assert "or declare it (--layout FILE)" in problem


def test_masks_that_are_read_as_images_are_noted(dataset: Path, write_image: WriteImage) -> None:
    write_image(dataset / "nut" / "test" / "crack" / "000_GT.png", mode="L")
    write_image(dataset / "nut" / "test" / "masks" / "000.png", mode="L")
    notes = [line for line in check_data(dataset, quick=True).notes if "masks" in line]
    assert [line.split(" has ")[1][:40] for line in notes] == [
        "1 test images of the type 'masks', which",
        "1 images that seem to be masks of others",
    ]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("classes", [None, ["nut"]])
def test_images_that_the_layout_leaves_unused_are_counted_and_named(
    dataset: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str], split, classes
) -> None:
    unused = [
        *(dataset / "nut" / "validation" / "good" / f"{i:03}.png" for i in range(3)),
        dataset / "nut" / "train" / "Good" / "000.png",
        dataset / "loose.png",
    ]
    assert list_data(dataset, classes, split=split)  # whatever is listed of the classes...
    assert capsys.readouterr().err == ""
    for path in unused:
        write_image(path)
    write_image(dataset / "nut" / "ground_truth" / "good" / "000.png", mode="L")
    list_data(dataset, classes, split=split)
    (line,) = capsys.readouterr().err.splitlines()
    first = ", ".join(str(path) for path in sorted(unused)[:3])  # ... what is named is the same
    assert line == (
        f"{dataset}: not read: 5 unused images, 1 image set aside: {first} and 3 more; "
        "mambaad data check names them"
    )
    inventory = check_data(dataset, quick=True)
    named = [Path(one["path"]) for one in json.loads(inventory.to_json())["unread"]]
    assert sorted(named) == sorted([*unused, dataset / "nut/ground_truth/good/000.png"])


def test_the_usual_is_named_last() -> None:
    unread = [Unread(Path(f"{i}.txt"), ".txt", "", is_usual=True) for i in range(3)]
    assert name_some(unread) == "3 .txt: 0.txt, 1.txt, 2.txt"
    unread.append(Unread(Path("x.gif"), ".gif", ""))
    assert name_some(unread) == "3 .txt, 1 .gif: x.gif, 0.txt, 1.txt and 1 more"


CLOSED = ("train/good/sub", "test/good", "test/crack/sub", "ground_truth/crack", "train", "x")


@pytest.mark.parametrize("name", [*CLOSED, "../other"])
def test_a_folder_that_cannot_be_listed_is_a_problem(
    dataset: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = Path(os.path.normpath(dataset / "nut" / name))
    write_image(folder / "077.png")
    words = f"{folder} cannot be listed (Permission denied); allow it to be read, or remove it"
    with closed(folder):
        inventory = check_data(dataset)
        assert words in inventory.problems
        assert [one.path for one in inventory.unread] == [folder]
        for split in ("train", "test"):
            with pytest.raises(DataError) as caught:
                list_data(dataset, split=split)
            assert str(caught.value).startswith(words)
        if name not in ("ground_truth/crack", "train"):  # without which a class is not whole
            assert all_of(list_data(dataset, skip_unreadable=True))
            assert f"not read: 1 closed folder: {folder}; " in capsys.readouterr().err


def all_of(classes: list[ProductClass]) -> set[str]:
    return {s.path.name for c in classes for s in (*c.train, *c.test)} - {"077.png"}


def test_several_folders_that_cannot_be_listed_are_counted(dataset: Path) -> None:
    shut = [dataset / "nut" / "test" / "good", dataset / "bolt" / "train" / "good"]
    with closed(*shut), pytest.raises(DataError, match=r"\(and 1 more like it\)"):
        list_data(dataset)
