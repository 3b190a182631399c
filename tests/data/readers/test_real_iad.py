"""Real-IAD as its archives unpack: folders of JSON files beside a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout, read_data
from mambaad.data.readers.real_iad import LAYOUT as REAL_IAD
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage

SETTINGS = ("realiad_jsons", "realiad_jsons_sv", "realiad_jsons_fuiad_0.4")


def entry(name: str, number: int, view: int, kind: str, *, seen: bool = True) -> dict[str, Any]:
    """An image as the JSON files describe it; on some views a defect is not seen."""
    side = "OK" if kind == "OK" else "NG"
    folder = f"OK/S{number:04}" if kind == "OK" else f"NG/{kind}/S{number:04}"
    path = f"{folder}/{name}_{number:04}_{side}_{kind}_C{view}_20231021124455"
    shown = kind != "OK" and seen
    return {
        "category": name,
        "anomaly_class": kind if shown else "OK",
        "image_path": f"{path}.jpg",
        "mask_path": f"{path}.png" if shown else None,
    }


def lists(name: str, setting: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is for training and for testing: multi-view, one view, or with defects in training."""
    views = (1,) if setting.endswith("_sv") else (1, 2)
    train = [entry(name, number, view, "OK") for number in (1, 2) for view in views]
    if "fuiad" in setting:
        train[-1] = entry(name, 3, 1, "HS")
    test = [entry(name, 4, view, "OK") for view in views]
    test += [entry(name, 5, view, "AK", seen=view == 1) for view in views]
    return train, test


@pytest.fixture
def real_iad(tmp_path: Path, write_image: WriteImage) -> Path:
    root = tmp_path / "Real-IAD"
    for setting in SETTINGS:
        for name in ("audiojack", "toy"):
            train, test = lists(name, setting)
            for image in (*train, *test):
                folder = root / "realiad_1024" / name
                write_image(folder / image["image_path"], 8, 8)
                if image["mask_path"]:
                    write_image(folder / image["mask_path"], 8, 8, "L")
            path = root / setting / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            meta = {"normal_class": "OK", "prefix": f"{name}/"}
            path.write_text(json.dumps({"meta": meta, "train": train, "test": test}))
    return root


def test_reads_all_views(real_iad: Path) -> None:
    audiojack, toy = REAL_IAD.read(real_iad / "realiad_jsons")
    images = real_iad / "realiad_1024" / "audiojack"
    assert [s.path.relative_to(images).parts[:2] for s in audiojack.train] == [
        *(("OK", "S0001"),) * 2,
        *(("OK", "S0002"),) * 2,
    ]
    seen = images / "NG/AK/S0005/audiojack_0005_NG_AK_C1_20231021124455.jpg"
    unseen = images / "NG/AK/S0005/audiojack_0005_NG_AK_C2_20231021124455.jpg"
    assert audiojack.test[2:] == (
        Sample(seen, "audiojack", "AK", seen.with_suffix(".png")),
        Sample(unseen, "audiojack"),
    )
    assert (toy.name, len(toy.train), len(toy.test)) == ("toy", 4, 4)


def test_what_no_mask_shows_is_good(real_iad: Path) -> None:
    path = real_iad / "realiad_jsons" / "toy.json"
    content = json.loads(path.read_text())
    content["test"][2]["mask_path"] = None
    path.write_text(json.dumps(content))
    (toy,) = REAL_IAD.read(path.parent, ["toy"])
    assert [s.is_defective for s in toy.test] == [False] * 4


def test_one_view(real_iad: Path) -> None:
    audiojack, _ = read_data(real_iad / "realiad_jsons_sv")
    assert (len(audiojack.train), len(audiojack.test)) == (2, 2)


def test_defects_among_training_images_are_given_and_marked(real_iad: Path) -> None:
    root = real_iad / "realiad_jsons_fuiad_0.4"
    audiojack, _ = read_data(root)
    assert [s.defect_type for s in audiojack.train] == ["good", "good", "good", "HS"]
    inventory = check_data(root, quick=True)
    assert inventory.problems == ()
    assert inventory.classes[0].train_defective == {"HS": 1}
    assert inventory.to_rows()[1][:5] == ["audiojack", "4", "3", "1", "1"]
    assert any("1 defective images among 4 to train" in note for note in inventory.notes)


def test_a_folder_of_several_settings(real_iad: Path, complains: Complains) -> None:
    assert find_layout(real_iad).name == "real-iad"
    with complains(real_iad, "3 settings", str(real_iad / "realiad_jsons_sv")):
        read_data(real_iad)


def test_a_folder_of_one_setting_that_is_nested_as_the_archive_has_it(real_iad: Path) -> None:
    (real_iad / "jsons").mkdir()
    (real_iad / "realiad_jsons").rename(real_iad / "jsons" / "realiad_jsons")
    (real_iad / "jsons").rename(real_iad / "realiad_jsons")
    for name in SETTINGS[1:]:
        for path in (real_iad / name).iterdir():
            path.unlink()
    assert len(read_data(real_iad)) == 2


def test_files_beside_the_images_as_ader_has_them(real_iad: Path) -> None:
    for path in (real_iad / "realiad_jsons").iterdir():
        path.rename(real_iad / "realiad_1024" / path.name)
    assert len(read_data(real_iad / "realiad_1024", ["toy"])[0].train) == 4


def test_test_images_alone(real_iad: Path) -> None:
    (toy,) = read_data(real_iad / "realiad_jsons", ["toy"], split="test")
    assert (toy.train, len(toy.test)) == ((), 4)


def test_images_that_were_not_unpacked(real_iad: Path, complains: Complains) -> None:
    (real_iad / "realiad_1024").rename(real_iad / "elsewhere")
    place = real_iad / "realiad_1024" / "audiojack"
    with complains(place, "unpack", "--classes"):
        REAL_IAD.read(real_iad / "realiad_jsons")
    problems = check_data(real_iad / "realiad_jsons").problems
    assert [line.split(" is missing")[0] for line in problems] == [
        str(place),
        str(place.with_name("toy")),
    ]


def test_a_missing_image(real_iad: Path, complains: Complains) -> None:
    path = next((real_iad / "realiad_1024" / "toy").rglob("*C2*.jpg"))
    path.unlink()
    with complains(path, "is listed in"):
        REAL_IAD.read(real_iad / "realiad_jsons")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda content: content.pop("test"), "'test'"),
        (lambda content: content.update(train={}), "not lists"),
        (lambda content: content["meta"].update(prefix=None), "not text"),
        (lambda content: content["train"][1].pop("mask_path"), "image 1 lacks"),
        (lambda content: content["train"].clear(), "0 images to train"),
    ],
)
def test_a_json_file_that_is_wrong(real_iad: Path, complains: Complains, change, part) -> None:
    path = real_iad / "realiad_jsons" / "toy.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with complains(path, part, "again"):
        REAL_IAD.read(path.parent)


def test_not_json(real_iad: Path, complains: Complains) -> None:
    path = real_iad / "realiad_jsons" / "toy.json"
    path.write_text(path.read_text()[:-5])
    with complains(path, "download the file again"):
        REAL_IAD.read(path.parent)


def test_no_json_files(tmp_path: Path, complains: Complains) -> None:
    with complains(tmp_path, "realiad_jsons.zip"):
        REAL_IAD.read(tmp_path)
    with complains(tmp_path / "gone", "is not a folder"):
        REAL_IAD.read(tmp_path / "gone")
