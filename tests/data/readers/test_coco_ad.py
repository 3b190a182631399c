"""COCO-AD: read as ADer writes it, and built from small annotations in the form of COCO 2017."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout, read_data
from mambaad.data.mask_files import read_mask
from mambaad.data.readers.coco_ad import LAYOUT as COCO_AD
from mambaad.data.readers.coco_ad_build import build_coco_ad, fill_polygon
from mambaad.errors import ConfigError, RunError
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage
from tests.killing import kill_at_every_change

SQUARE = [[2.0, 1.0, 6.9, 1.0, 6.9, 4.2, 2.0, 4.2]]
CROWD = {"counts": [3, 2, 6, 1, 84], "size": [8, 12]}
# The ids of COCO's 80 categories go to 90, with gaps.
IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
FIRST, SECOND, LAST = IDS[0], IDS[20], IDS[79]


@pytest.fixture
def coco(tmp_path: Path, write_image: WriteImage) -> Path:
    """Images with objects of the first, second and last twenty categories, and one of none."""
    root = tmp_path / "coco"
    objects = {
        "train": [(FIRST,), (SECOND,), (SECOND, LAST), (LAST,), (LAST,), ()],
        "val": [(FIRST, SECOND), (SECOND,), (LAST,), ()],
    }
    for part, images in objects.items():
        content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": f"category {i}"} for i in IDS],
        }
        for number, kinds in enumerate(images, start=7):
            name = f"{number:012}.jpg"
            write_image(root / f"{part}2017" / name)
            size = {"height": 8, "width": 12}
            content["images"].append({"id": number, "file_name": name, **size})
            for kind in kinds:
                content["annotations"].append(
                    {
                        "id": 10 * number + kind,
                        "image_id": number,
                        "category_id": kind,
                        "iscrowd": int(kind == FIRST),
                        "segmentation": CROWD if kind == FIRST else SQUARE,
                    }
                )
        path = root / "annotations" / f"instances_{part}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def names(samples: tuple[Sample, ...]) -> list[int]:
    return [int(sample.path.stem) for sample in samples]


def test_each_split_holds_out_twenty_categories(coco: Path) -> None:
    told: list[tuple[int, int]] = []
    assert build_coco_ad(coco, progress=lambda *done: told.append(done)) == [0, 1, 2, 3]
    assert told == [(i, 4) for i in range(1, 5)]
    assert find_layout(coco).name == "coco-ad"
    first, second, third, fourth = (read_data(coco, [f"coco_{k}"])[0] for k in range(4))
    assert (first.name, names(first.train), names(second.train)) == (
        "coco_0",
        [8, 9, 10, 11],
        [7, 10, 11],
    )
    assert (names(third.train), names(fourth.train)) == ([7, 8, 9, 10, 11], [7, 8])
    # Images without annotations are in neither part.
    assert [names(c.test) for c in (first, second, third, fourth)] == [[7, 8, 9]] * 4
    assert [[s.is_defective for s in c.test] for c in (first, second, third, fourth)] == [
        [True, False, False],
        [True, True, False],
        [False, False, False],
        [False, False, True],
    ]
    assert second.test[0] == Sample(
        coco / "val2017" / "000000000007.jpg",
        "coco_1",
        "anomaly",
        coco / "val2017_mask_ad_20_1" / "000000000007.png",
    )


def test_masks_are_of_the_held_out_objects_alone(coco: Path) -> None:
    build_coco_ad(coco, [0, 1])
    crowd = np.zeros((8, 12), bool)
    crowd[3:5, 0] = crowd[3, 1] = True  # runs go down the columns
    square = np.zeros((8, 12), bool)
    square[1:5, 2:7] = True
    for k, expected in enumerate((crowd, square)):
        mask = read_mask(coco / f"val2017_mask_ad_20_{k}" / "000000000007.png")
        np.testing.assert_array_equal(mask, expected)


def test_the_files_are_those_of_ader(coco: Path) -> None:
    build_coco_ad(coco, [1])
    content = json.loads((coco / "meta_20_1.json").read_text())
    assert content["test"]["coco"][0] == {
        "img_path": "val2017/000000000007.jpg",
        "mask_path": "val2017_mask_ad_20_1/000000000007.png",
        "cls_name": "coco",
        "specie_name": "",
        "anomaly": 1,
    }
    assert content["train"]["coco"][0]["mask_path"] == ""


def test_what_is_there_stays(coco: Path) -> None:
    assert build_coco_ad(coco, [2]) == [2]
    assert build_coco_ad(coco) == [0, 1, 3]
    assert build_coco_ad(coco) == []


def test_whole_or_not_at_all(coco: Path) -> None:
    def fail(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    before = sorted(path.name for path in coco.iterdir())
    with pytest.raises(KeyboardInterrupt):
        build_coco_ad(coco, [1], progress=fail)
    assert sorted(path.name for path in coco.iterdir()) == before

    leftover = coco / "val2017_mask_ad_20_1" / "old.png"
    leftover.parent.mkdir()
    leftover.write_bytes(b"")
    build_coco_ad(coco, [1])
    assert not leftover.exists()


def test_a_killed_process_leaves_nothing(coco: Path) -> None:
    before = {path.name for path in coco.iterdir()}
    setup = "from mambaad.data.readers.coco_ad_build import build_coco_ad"
    assert kill_at_every_change("build_coco_ad(place, [0])", coco, setup=setup) > 10
    made = {path.name for path in coco.iterdir()} - before
    assert made == {"meta_20_0.json", "val2017_mask_ad_20_0"}
    assert len(list((coco / "val2017_mask_ad_20_0").iterdir())) == 1
    assert read_data(coco, ["coco_0"])


def test_two_processes_at_once_are_refused(coco: Path) -> None:
    refused = []

    def second(done: int, total: int) -> None:
        with ThreadPoolExecutor(1) as pool, pytest.raises(RunError, match="is being written by"):
            pool.submit(build_coco_ad, coco, [1]).result()
        refused.append(done)

    assert build_coco_ad(coco, [0], progress=second) == [0]
    assert refused
    assert build_coco_ad(coco, [1]) == [1]


def test_masks_that_cannot_be_written(coco: Path, monkeypatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError, match=r"val2017_mask_ad_20_0 cannot be written .No space left"):
        build_coco_ad(coco, [0])
    assert not list(coco.glob(".*"))


def test_no_such_split(coco: Path) -> None:
    with pytest.raises(ConfigError, match=r"--split: expected some of 0, 1, 2, 3, got \[4\]"):
        build_coco_ad(coco, [4])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content.pop("images"), "'images'"),
        (lambda content: content["categories"].pop(), "79 categories"),
        (lambda content: content["images"].pop(0), "belongs to no image"),
        (lambda content: content["annotations"][0].pop("segmentation"), "annotations lacks"),
    ],
)
def test_other_annotations(coco: Path, complains: Complains, change, part: str) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with complains(path, part, "download it again"):
        build_coco_ad(coco)


def test_compressed_masks(coco: Path, complains: Complains) -> None:
    path = coco / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = {"counts": "0b31", "size": [8, 12]}
    path.write_text(json.dumps(content))
    with complains(Path("annotation 71"), "compressed"):
        build_coco_ad(coco)


def test_without_annotations_or_images(coco: Path, complains: Complains) -> None:
    (coco / "val2017").rename(coco / "val")
    with complains(coco / "val2017", "val2017.zip"):
        build_coco_ad(coco)
    (coco / "val").rename(coco / "val2017")
    path = coco / "annotations" / "instances_train2017.json"
    path.unlink()
    with complains(path, "annotations_trainval2017.zip"):
        build_coco_ad(coco)


def test_not_built_yet(coco: Path, complains: Complains) -> None:
    assert find_layout(coco).name == "coco-ad"
    with complains(coco / "meta_20_0.json", f"mambaad data build-coco-ad {coco}"):
        COCO_AD.read(coco)


def test_splits_are_not_trained_on_together(coco: Path, complains: Complains) -> None:
    build_coco_ad(coco, [0, 1])
    with complains(coco, "coco_0, coco_1", "--classes coco_0"):
        COCO_AD.read(coco)
    assert [c.name for c in COCO_AD.read(coco, split="test")] == ["coco_0", "coco_1"]
    inventory = check_data(coco, quick=True)
    assert inventory.problems == ()
    assert inventory.to_rows()[1] == ["coco_0", "4", "2", "1", "1", "anomaly 1"]


@pytest.mark.parametrize("text", ["[]", '{"train": {"coco": [{}]}, "test": {"coco": []}}', "{"])
def test_a_meta_file_that_is_wrong(coco: Path, complains: Complains, text: str) -> None:
    path = coco / "meta_20_0.json"
    path.write_text(text)
    with complains(path, "make it again"):
        COCO_AD.read(coco)
    assert len(check_data(coco, quick=True).problems) == 1


def test_a_missing_mask(coco: Path, complains: Complains) -> None:
    build_coco_ad(coco, [0])
    mask = coco / "val2017_mask_ad_20_0" / "000000000007.png"
    mask.unlink()
    with complains(mask, "as the mask of 000000000007.jpg"):
        COCO_AD.read(coco)


def test_polygons_by_hand() -> None:
    mask = np.zeros((5, 6), bool)
    fill_polygon(mask, np.array([[1, 0], [4, 3], [1, 3]]))
    assert mask.astype(int).tolist() == [
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    outside = np.zeros((3, 3), bool)
    fill_polygon(outside, np.array([[-9, -9], [-5, -9], [-5, 9], [-9, 9]]))
    assert not outside.any()
    point = np.zeros((3, 3), bool)
    fill_polygon(point, np.array([[1, 2], [1, 2]]))
    assert np.argwhere(point).tolist() == [[2, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_polygons_as_opencv_fills_them(seed: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="compares with OpenCV, which ADer draws with")
    random = np.random.default_rng(seed)
    corners = random.integers(0, (60, 40), (random.integers(1, 15), 2))
    corners = corners.repeat(1 + seed % 2, axis=0)  # as small steps become whole pixels
    expected = cv2.fillPoly(np.zeros((40, 60), np.uint8), [corners.astype(np.int32)], 1)
    mask = np.zeros((40, 60), bool)
    fill_polygon(mask, corners)
    np.testing.assert_array_equal(mask, expected > 0)
