"""The folder layout, and everything that can be wrong with it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mambaad.data.layouts import read_data
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.types import ProductClass, Sample
from tests.conftest import SHARED
from tests.data.conftest import Complains, WriteImage


def test_reads_the_layout(dataset: Path) -> None:
    bolt, nut = MVTEC.read(dataset)
    good = dataset / "bolt" / "train" / "good"
    assert bolt == ProductClass(
        "bolt", tuple(Sample(good / f"00{i}.png", "bolt") for i in range(3)), ()
    )
    assert not bolt.has_masks
    crack = dataset / "nut" / "test" / "crack"
    masks = dataset / "nut" / "ground_truth" / "crack"
    assert nut.test == (
        Sample(crack / "000.png", "nut", "crack", masks / "000_mask.png"),
        Sample(crack / "001.png", "nut", "crack", masks / "001_mask.png"),
        Sample(dataset / "nut" / "test" / "good" / "000.png", "nut"),
    )
    assert [s.is_defective for s in nut.test] == [True, True, False]
    assert nut.has_masks


def test_classes_are_chosen_in_alphabetical_order(dataset: Path) -> None:
    assert [c.name for c in MVTEC.read(dataset, ["nut", "bolt"])] == ["bolt", "nut"]
    assert [c.name for c in MVTEC.read(dataset, ["nut"])] == ["nut"]


def test_for_testing_only_what_has_tests_is_read(dataset: Path) -> None:
    shutil.rmtree(dataset / "nut" / "train")
    (only,) = MVTEC.read(dataset, split="test")
    assert (only.name, only.train, len(only.test)) == ("nut", (), 3)


def test_masks_may_be_absent(dataset: Path) -> None:
    shutil.rmtree(dataset / "nut" / "ground_truth")
    _, nut = MVTEC.read(dataset)
    assert len(nut.test) == 3
    assert not nut.has_masks


def test_masks_may_have_the_name_of_their_image(dataset: Path) -> None:
    mask = dataset / "nut" / "ground_truth" / "crack" / "000_mask.png"
    renamed = mask.rename(mask.with_name("000.png"))
    _, nut = MVTEC.read(dataset)
    assert nut.test[0].mask_path == renamed


def test_a_good_part_has_no_mask(dataset: Path, write_image: WriteImage) -> None:
    write_image(dataset / "nut" / "ground_truth" / "good" / "000_mask.png", mode="L")
    _, nut = MVTEC.read(dataset)
    assert nut.test[-1] == Sample(dataset / "nut" / "test" / "good" / "000.png", "nut")


def test_other_files_are_passed_over(dataset: Path, write_image: WriteImage) -> None:
    before = MVTEC.read(dataset)
    (dataset / "license.txt").write_text("free")
    write_image(dataset / "nut" / "train" / "good" / "._000.png")
    (dataset / "nut" / "train" / "good" / "notes.txt").write_text("-")
    (dataset / ".cache" / "train").mkdir(parents=True)
    write_image(dataset / "docs" / "drawing.png")
    assert MVTEC.read(dataset) == before


def test_root_is_not_a_folder(dataset: Path, complains: Complains) -> None:
    for root in (dataset / "gone", dataset / "nut" / "train" / "good" / "000.png"):
        with complains(root, "is not a folder"):
            MVTEC.read(root)


def test_no_classes(tmp_path: Path, complains: Complains) -> None:
    with complains(tmp_path, "has no classes", "train/good"):
        MVTEC.read(tmp_path)


def test_no_classes_to_test(dataset: Path, complains: Complains) -> None:
    shutil.rmtree(dataset / "nut" / "test")
    with complains(dataset, "has no classes", "test/<type>"):
        MVTEC.read(dataset, split="test")


def test_a_class_given_as_root(dataset: Path, complains: Complains, monkeypatch) -> None:
    with complains(dataset / "nut", f"give the folder above it: {dataset}"):
        MVTEC.read(dataset / "nut")
    monkeypatch.chdir(dataset / "nut")
    with complains(Path(), f"give the folder above it: {dataset.resolve()}"):
        MVTEC.read(Path())


def test_unknown_class(dataset: Path, complains: Complains) -> None:
    with complains(dataset, "washer", "bolt, nut", "--classes"):
        MVTEC.read(dataset, ["nut", "washer"])


@pytest.mark.parametrize("folder", ["", "train", "train/good", "test/good", "ground_truth"])
def test_empty_class(dataset: Path, complains: Complains, folder: str) -> None:
    (dataset / "washer" / folder).mkdir(parents=True)
    with complains(dataset / "washer" / "train" / "good", "has 0 images", "--classes"):
        MVTEC.read(dataset)
    assert len(MVTEC.read(dataset, ["bolt", "nut"])) == 2


def test_one_image_class(dataset: Path, complains: Complains, write_image: WriteImage) -> None:
    write_image(dataset / "washer" / "train" / "good" / "000.png")
    with complains(dataset / "washer" / "train" / "good", "has 1 images", "at least 2"):
        MVTEC.read(dataset)


@pytest.mark.parametrize("folder", ["train/good", "test/crack", "ground_truth/crack"])
def test_two_images_of_one_name(
    dataset: Path, complains: Complains, write_image: WriteImage, folder: str
) -> None:
    name = "000_mask" if folder.startswith("ground_truth") else "000"
    write_image(dataset / "nut" / folder / f"{name}.bmp")
    with complains(dataset / "nut" / folder / f"{name}.bmp", f"{name}.png", "rename one"):
        MVTEC.read(dataset)


def test_two_masks_of_one_image(
    dataset: Path, complains: Complains, write_image: WriteImage
) -> None:
    mask = write_image(dataset / "nut" / "ground_truth" / "crack" / "000.png", mode="L")
    with complains(mask.with_name("000_mask.png"), "000.png", "remove one"):
        MVTEC.read(dataset)


def test_mask_without_an_image(dataset: Path, complains: Complains) -> None:
    (dataset / "nut" / "test" / "crack" / "001.png").unlink()
    mask = dataset / "nut" / "ground_truth" / "crack" / "001_mask.png"
    with complains(mask, "mask without an image", "remove it"):
        MVTEC.read(dataset)


@pytest.mark.parametrize("gone", ["test/crack", "test"])
def test_masks_without_their_folder_of_images(
    dataset: Path, complains: Complains, gone: str
) -> None:
    shutil.rmtree(dataset / "nut" / gone)
    masks = dataset / "nut" / "ground_truth" / "crack"
    with complains(masks, "masks without images", str(dataset / "nut" / "test" / "crack")):
        MVTEC.read(dataset)


def test_defect_without_its_mask(dataset: Path, complains: Complains) -> None:
    mask = dataset / "nut" / "ground_truth" / "crack" / "001_mask.png"
    mask.unlink()
    with complains(dataset / "nut" / "test" / "crack" / "001.png", "has no mask", str(mask)):
        MVTEC.read(dataset)


def test_counts_of_the_real_classes(real_data: Path) -> None:
    table = {}
    for line in (SHARED / "data" / "README.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| (\w+) \| (\d+) \| (\d+) / (\d+)[^|]*\| (none|\d+)", line)
        if row:
            name, *counts = row.groups()
            table[name] = [int(count.replace("none", "0")) for count in counts]
    assert len(table) == 6
    assert {
        c.name: [
            len(c.train),
            sum(not s.is_defective for s in c.test),
            sum(s.is_defective for s in c.test),
            sum(s.mask_path is not None for s in c.test),
        ]
        for c in MVTEC.read(real_data)
    } == table


@pytest.mark.parametrize(
    ("images_in", "masks_in"), [("l\u00f6ch", "lo\u0308ch"), ("crack", "Crack")]
)
def test_types_are_one_in_either_case_and_form_of_unicode(
    tmp_path: Path, write_image: WriteImage, images_in: str, masks_in: str
) -> None:
    for i in range(2):
        write_image(tmp_path / "nut" / "train" / "good" / f"{i}.png")
    write_image(tmp_path / "nut" / "test" / images_in / "1.png")
    mask = write_image(tmp_path / "nut" / "ground_truth" / masks_in / "1_mask.png", mode="L")
    (nut,) = read_data(tmp_path)
    assert nut.test[0].mask_path == mask
    layout = (
        '{"train": "{class}/train/good", "test": "{class}/test/{type}", '
        '"masks": "{class}/ground_truth/{type}"}'
    )
    assert read_data(tmp_path, layout=layout) == [nut]
