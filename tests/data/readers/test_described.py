"""Declared layouts, and the layouts that are described: each on a small tree in its very form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.checks import read_sample
from mambaad.data.inventory import check_data
from mambaad.data.layout_file import as_setting
from mambaad.data.layouts import class_names, find_layout, read_data
from mambaad.errors import DataError
from mambaad.types import ProductClass

Rows = dict[str, tuple[list[str], list[str]]]


def draw(root: Path, *names: str, marked: bool = True) -> None:
    """Draw images, or masks with one marked pixel or none."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((6, 8), np.uint8)
        pixels[1, 2] = 255 * marked
        Image.fromarray(pixels).save(path)


def told(root: Path, classes: list[ProductClass]) -> Rows:
    """Each class's training images, and its test images as 'image type mask mask ...'."""

    def line(sample) -> str:
        masks = [p for p in (sample.mask_path, *sample.more_masks) if p]
        names = [sample.path.relative_to(root).as_posix(), sample.defect_type]
        return " ".join([*names, *(p.relative_to(root).as_posix() for p in masks)])

    return {
        c.name: (
            [s.path.relative_to(root).as_posix() for s in c.train],
            [line(s) for s in c.test],
        )
        for c in classes
    }


def test_the_description_of_mvtecs_own_layout(dataset: Path) -> None:
    text = """
train: "{class}/train/good"
test: "{class}/test/{type}"
masks: "{class}/ground_truth/{type}"
"""
    (dataset / "mine.yaml").write_text(text)
    layout = str(dataset / "mine.yaml")
    assert read_data(dataset, layout=layout) == read_data(dataset)
    assert class_names(dataset, split="test", layout=layout) == ["nut"]
    kept = as_setting(layout)
    assert kept is not None
    assert json.loads(kept)["train"] == ["{class}/train/good"]
    (dataset / "mine.yaml").unlink()
    assert read_data(dataset, ["nut"], layout=kept) == read_data(dataset, ["nut"])


def test_good_parts_by_other_names_and_masks_beside(tmp_path: Path) -> None:
    draw(tmp_path, "line/OK/1.png", "line/OK/2.png", "line/check/Normal/3.png")
    draw(tmp_path, "line/check/scratch/4.png", "line/check/scratch/4_GT.png")
    draw(tmp_path, "line/check/0_ok/5.png", "line/check/good/6.png", "line/check/good/6_GT.png")
    layout = as_setting(
        {
            "train": "{class}/OK",
            "test": "{class}/check/{type}",
            "masks": "{folder}",
            "mask_suffixes": "_gt",
            "good": ["normal", "0_OK"],
        }
    )
    (line,) = told(tmp_path, read_data(tmp_path, layout=layout)).values()
    assert line == (
        ["line/OK/1.png", "line/OK/2.png"],
        [
            "line/check/0_ok/5.png good",
            "line/check/Normal/3.png good",
            "line/check/good/6.png defect line/check/good/6_GT.png",
            "line/check/scratch/4.png scratch line/check/scratch/4_GT.png",
        ],
    )


def test_one_class_of_flat_folders_with_a_share_for_testing(tmp_path: Path) -> None:
    root = tmp_path / "hazelnut_toy"  # as anomalib's Folder has it
    draw(root, *(f"good/{i:02}.jpg" for i in range(10)), "crack/00.jpg", "colour/00.jpg")
    draw(root, "mask/crack/00.png", "mask/colour/00.png")
    found = told(
        root,
        read_data(
            root,
            layout=as_setting(
                {"train": "good", "test": "{type}", "masks": "mask/{type}", "test_share": 0.2}
            ),
        ),
    )
    assert found == {
        "hazelnut_toy": (
            [f"good/{i:02}.jpg" for i in range(10) if i not in (4, 9)],
            [
                "colour/00.jpg colour mask/colour/00.png",
                "crack/00.jpg crack mask/crack/00.png",
                "good/04.jpg good",
                "good/09.jpg good",
            ],
        )
    }


def test_a_file_is_a_mask_only_where_there_is_an_image_that_it_belongs_to(tmp_path: Path) -> None:
    draw(tmp_path, "OK/left_m.png", "OK/right_m.png", "OK/top.png", "OK/top_m.png")
    draw(tmp_path, "OK/a/x.png", "OK/b/x_m.png")  # not in one folder
    draw(tmp_path, "NG/1.png", "NG/1_M.png", "NG/2.PNG", "NG/2_m.png", "NG/3_m.png", "NG/3_m_m.png")
    layout = as_setting({"train": "OK", "test": "NG", "masks": "{folder}", "mask_suffixes": "_m"})
    ((train, test),) = told(tmp_path, read_data(tmp_path, layout=layout)).values()
    assert train == ["OK/a/x.png", "OK/b/x_m.png", "OK/left_m.png", "OK/right_m.png", "OK/top.png"]
    assert test == [
        "NG/1.png NG NG/1_M.png",
        "NG/2.PNG NG NG/2_m.png",
        "NG/3_m.png NG NG/3_m_m.png",
    ]
    inventory = check_data(tmp_path, layout=layout, quick=True)
    assert [one.path.name for one in inventory.unread if one.is_usual] == ["top_m.png"]
    draw(tmp_path, "OK2/left_m.png")  # no mask either, and not read: that is said
    (note,) = (n for n in check_data(tmp_path, layout=layout, quick=True).notes if "OK2" in n)
    assert "is not read" in note


def test_a_mask_without_its_image_is_noted(tmp_path: Path) -> None:
    draw(tmp_path, *(f"OK/{i}.png" for i in range(4)), "NG/1.png", "NG/1_gt.png", "NG/2_gt.png")
    given = {"train": "OK", "test": "NG", "masks": "{folder}", "mask_suffixes": "_gt"}
    inventory = check_data(tmp_path, layout=as_setting(given), quick=True)
    (note,) = (n for n in inventory.notes if "called as masks" in n)
    assert f"1 images that are called as masks are, {tmp_path / 'NG' / '2_gt.png'}" in note
    assert any("2_gt.png has no mask" in problem for problem in inventory.problems)


def test_two_masks_of_an_image_beside_it_are_a_problem(tmp_path: Path) -> None:
    draw(tmp_path, "OK/1.png", "OK/2.png", "NG/1.png", "NG/1_m.png", "NG/1_gt.png")
    layout = as_setting(
        {"train": "OK", "test": "NG", "masks": "{folder}", "mask_suffixes": ["_m", "_gt"]}
    )
    with pytest.raises(DataError, match=r"1_m.png and 1_gt.png are masks of the same image"):
        read_data(tmp_path, layout=layout)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"train": ["OK", "Okay"]},
            r"nothing at 'Okay' \(no folder is 'Okay': .* NG, OK, empty, gt",
        ),
        ({"train": ["OK", "{class}/OK"]}, "nothing at '{class}/OK'"),
        ({"test": ["NG", "{class}/{type}"]}, "nothing at '{class}/{type}'"),
        ({"test": ["NG", "empty"]}, "empty, which fits 'empty', has no images"),
        ({"masks": "masks"}, "no mask at 'masks' .there is no folder .*masks"),
        (
            {"masks": ["gt", "{folder}"]},
            "no mask at '{folder}' .no file in .* is called as an image",
        ),
        ({"mask_suffixes": "_seg"}, "no mask|mask without an image"),
        ({"masks": "gt/{name}"}, "no mask"),
        ({"train": "ok"}, "has no classes; expected images in .*/ok .no folder is 'ok'"),
    ],
)
def test_a_pattern_that_fits_nothing_is_a_problem(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    draw(tmp_path, "OK/1.png", "OK/2.png", "NG/1.png", "gt/1_GT.png")
    (tmp_path / "empty").mkdir()
    sound = {"train": "OK", "test": "NG", "masks": "gt", "mask_suffixes": "_GT"}
    layout = as_setting({**sound, "test": ["NG"], **change})
    if "train" in change and change["train"] == "ok":
        layout = as_setting({"train": "ok"})
    with pytest.raises(DataError, match=complaint) as caught:
        read_data(tmp_path, layout=layout)
    assert "\n" not in str(caught.value)
    assert read_data(tmp_path, layout=as_setting(sound))[0].has_masks


def test_folders_of_images_may_share_one_of_masks_but_not_a_mask(tmp_path: Path) -> None:
    draw(tmp_path, "OK/1.png", "OK/2.png", "NG/1.png", "hole/3.png", "gt/1.png", "gt/3.png")
    layout = as_setting({"train": "OK", "test": ["NG", "hole"], "masks": "gt"})
    ((_, test),) = told(tmp_path, read_data(tmp_path, layout=layout)).values()
    assert test == ["NG/1.png NG gt/1.png", "hole/3.png hole gt/3.png"]
    draw(tmp_path, "gt/4.png")
    with pytest.raises(DataError, match=r"gt/4.png is a mask without an image"):
        read_data(tmp_path, layout=layout)
    draw(tmp_path, "NG/4.png", "hole/4.png")
    with pytest.raises(DataError, match=r"4.png would be the mask of .*NG/4.png and of .*hole/4"):
        read_data(tmp_path, layout=layout)


def test_patterns_may_fit_other_classes_than_those_that_are_read(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{c}/{g}/{i}.png" for c, g in (("a", "OK"), ("b", "good")) for i in "12"))
    draw(tmp_path, "a/NG/3.png", "a/gt/3.png", "b/NG/3.png")
    layout = as_setting(
        {
            "train": ["{class}/OK", "{class}/good"],
            "test": "{class}/NG",
            "masks": "{class}/gt",
        }
    )
    for names in (["a"], ["b"], None):
        assert read_data(tmp_path, names, layout=layout)
    (tmp_path / "a" / "gt" / "3.png").unlink()
    for names in (["b"], None):
        with pytest.raises(DataError, match="no mask"):
            read_data(tmp_path, names, layout=layout)


def test_folders_that_say_nothing_and_masks_beside_the_folder_of_images(tmp_path: Path) -> None:
    draw(tmp_path, *(f"2024-05-0{d}/ok/{i}.png" for d in (1, 2) for i in (1, 2)))
    draw(tmp_path, "2024-05-01/dent/1.png", "2024-05-01/gt/1.png")
    draw(tmp_path, "2024-05-02/dent/1.png", "2024-05-02/gt/1.png")
    given = {"train": "*/ok", "test": "*/{type}", "masks": "{folder}/../gt", "good": "ok"}
    ((train, test),) = told(tmp_path, read_data(tmp_path, layout=as_setting(given))).values()
    assert len(train) == 4
    assert test == [f"2024-05-0{d}/dent/1.png dent 2024-05-0{d}/gt/1.png" for d in (1, 2)]


def test_loco(tmp_path: Path) -> None:
    screws = tmp_path / "screw_bag"
    draw(screws, *(f"{part}/good/00{i}.png" for part in ("train", "validation") for i in (0, 1)))
    for kind in ("logical_anomalies", "structural_anomalies"):
        draw(screws, f"test/{kind}/000.png", f"ground_truth/{kind}/000/000.png")
    second = np.zeros((6, 8), np.uint8)
    second[4, 5] = 241
    Image.fromarray(second).save(screws / "ground_truth/logical_anomalies/000/001.png")
    draw(screws, "test/good/000.png")
    (screws / "defects_config.json").write_text("[]")
    assert find_layout(tmp_path).name == "mvtec-loco"
    classes = read_data(tmp_path)
    assert told(screws, classes) == {
        "screw_bag": (
            ["train/good/000.png", "train/good/001.png"],
            [
                "test/good/000.png good",
                "test/logical_anomalies/000.png logical_anomalies "
                "ground_truth/logical_anomalies/000/000.png "
                "ground_truth/logical_anomalies/000/001.png",
                "test/structural_anomalies/000.png structural_anomalies "
                "ground_truth/structural_anomalies/000/000.png",
            ],
        )
    }
    _, joined = read_sample(classes[0].test[1])
    assert joined is not None
    assert np.argwhere(joined.marked).tolist() == [[1, 2], [4, 5]]
    inventory = check_data(tmp_path, quick=True)
    assert inventory.problems == ()
    assert {one.is_usual for one in inventory.unread} == {True}
    (screws / "ground_truth/logical_anomalies/000/000.png").unlink()
    (screws / "ground_truth/logical_anomalies/000/001.png").unlink()
    (problem,) = check_data(tmp_path, quick=True).problems
    assert "logical_anomalies/000.png has no mask" in problem


def test_mvtec_ad_2(tmp_path: Path) -> None:
    can = tmp_path / "can"
    for part in ("train/good", "validation/good", "test_public/good", "test_public/bad"):
        draw(can, f"{part}/000_regular.png", f"{part}/001_overexposed.png")
    draw(can, "test_private/000.png", "test_private_mixed/000.png")
    draw(
        can,
        *(f"test_public/ground_truth/bad/{n}_mask.png" for n in ("000_regular", "001_overexposed")),
    )
    assert find_layout(tmp_path).name == "mvtec-ad-2"
    assert told(can, read_data(tmp_path)) == {
        "can": (
            ["train/good/000_regular.png", "train/good/001_overexposed.png"],
            [
                f"test_public/bad/{n}.png bad test_public/ground_truth/bad/{n}_mask.png"
                for n in ("000_regular", "001_overexposed")
            ]
            + [f"test_public/good/{n}.png good" for n in ("000_regular", "001_overexposed")],
        )
    }
    inventory = check_data(tmp_path, quick=True)
    assert (inventory.problems, len(inventory.notes)) == ((), 1)  # seven further classes


def test_kolektor(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD"
    for item in range(1, 7):
        draw(root, f"kos{item:02}/Part0.jpg", f"kos{item:02}/Part1.jpg")
        draw(root, f"kos{item:02}/Part0_label.bmp", marked=item == 3)
        draw(root, f"kos{item:02}/Part1_label.bmp", marked=False)
    assert find_layout(root).name == "kolektor-sdd"
    ((train, test),) = told(root, read_data(root)).values()
    assert (len(train), test) == (
        9,
        [
            "kos03/Part1.jpg good",
            "kos06/Part0.jpg good",
            "kos03/Part0.jpg defect kos03/Part0_label.bmp",
        ],
    )
    assert read_data(root, split="test")[0].test == read_data(root)[0].test
    inventory = check_data(root, quick=True)
    assert (inventory.problems, inventory.notes) == ((), ())


def test_kolektor_2(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for i in range(3):
            draw(tmp_path, f"{part}/1000{i}.png")
            draw(tmp_path, f"{part}/1000{i}_GT.png", marked=i == 2)
    assert find_layout(tmp_path).name == "kolektor-sdd2"
    ((train, test),) = told(tmp_path, read_data(tmp_path)).values()
    assert train == ["train/10000.png", "train/10001.png"]
    assert test == [
        "test/10000.png good",
        "test/10001.png good",
        "test/10002.png defect test/10002_GT.png",
    ]
    assert check_data(tmp_path, quick=True).notes == ()
    (tmp_path / "test" / "10000_GT.png").unlink()
    (problem,) = check_data(tmp_path, quick=True).problems
    assert "10000.png has no mask" in problem


def test_dagm(tmp_path: Path) -> None:
    for part in ("Train", "Test"):
        draw(tmp_path, *(f"Class1/{part}/000{i}.PNG" for i in range(3)))
        draw(tmp_path, f"Class1/{part}/Label/0002_label.PNG")
        (tmp_path / "Class1" / part / "Label" / "Labels.txt").write_text("1\n")
    assert find_layout(tmp_path).name == "dagm"
    assert told(tmp_path, read_data(tmp_path)) == {
        "Class1": (
            ["Class1/Train/0000.PNG", "Class1/Train/0001.PNG"],
            [
                "Class1/Test/0000.PNG good",
                "Class1/Test/0001.PNG good",
                "Class1/Test/0002.PNG defect Class1/Test/Label/0002_label.PNG",
            ],
        )
    }
    inventory = check_data(tmp_path, quick=True)
    assert (inventory.problems, len(inventory.notes)) == ((), 1)  # nine further classes


def test_loco_with_images_in_sub_folders(tmp_path: Path) -> None:
    screws = tmp_path / "screws"
    draw(screws, "train/good/000.png", "train/good/001.png", "test/good/000.png")
    kind = "logical_anomalies"
    for name in ("monday/000", "tuesday/000", "tuesday/001"):
        draw(screws, f"test/{kind}/{name}.png")
    for place in ("monday/000", "tuesday/000", "001"):  # of the last one, its name is enough
        draw(screws, f"ground_truth/{kind}/{place}/000.png")
    assert find_layout(tmp_path).name == "mvtec-loco"
    (c,) = read_data(tmp_path)
    masks = {s.path.relative_to(screws).as_posix(): s.mask_path for s in c.test if s.is_defective}
    assert masks == {
        f"test/{kind}/{name}.png": screws / "ground_truth" / kind / place / "000.png"
        for name, place in (
            ("monday/000", "monday/000"),
            ("tuesday/000", "tuesday/000"),
            ("tuesday/001", "001"),
        )
    }
    (screws / "ground_truth" / kind / "monday" / "000" / "000.png").rename(
        screws / "ground_truth" / kind / "000.png"
    )
    problems = check_data(tmp_path, quick=True).problems  # which of two images it is of is open
    assert any("monday/000.png has no mask" in line for line in problems)


def test_whether_a_large_mask_is_marked_is_known_before_how_many_pixels_may_be_read(
    tmp_path: Path,
) -> None:
    layout = {"train": "parts", "masks": "masks", "defective_if": "marked"}
    draw(tmp_path, *(f"parts/{i}.png" for i in range(3)))
    draw(tmp_path, *(f"masks/{i}.png" for i in range(2)), marked=False)
    Image.new("1", (10_000, 9_000)).save(tmp_path / "masks" / "2.png")  # more than the default
    (c,) = read_data(tmp_path, layout=json.dumps(layout))
    assert len(c.train) == 3
