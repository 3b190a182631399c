"""VisA as its archive has it: images and masks beside ``split_csv/1cls.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mambaad.data.inventory import check_data
from mambaad.data.layouts import find_layout, read_data
from mambaad.data.mask_files import read_mask
from mambaad.data.readers.visa import LAYOUT as VISA
from mambaad.types import ProductClass, Sample
from tests.data.conftest import Complains, WriteImage, noise


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    """Two classes, each of three images to train on, and of two good and one anomalous."""
    root = tmp_path / "VisA_20220922"
    rows = [("object", "split", "label", "image", "mask")]
    for start, name in enumerate(("pcb1", "candle")):
        images = f"{name}/Data/Images"
        for i in range(5):
            image = f"{images}/Normal/{i:04}.JPG"
            save(root / image, noise(8, 12, 3) // (1 + i) + start)
            rows.append((name, "train" if i < 3 else "test", "normal", image, ""))
        mask = f"{name}/Data/Masks/Anomaly/000.png"
        save(root / f"{images}/Anomaly/000.JPG", 255 - noise(8, 12, 3))
        save(root / mask, np.arange(96, dtype=np.uint8).reshape(8, 12) % 3 * (np.arange(12) > 7))
        rows.append((name, "test", "anomaly", f"{images}/Anomaly/000.JPG", mask))
        (root / name / "image_anno.csv").write_text("image,label,mask\n")
    path = root / "split_csv" / "1cls.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "LICENSE-DATASET").write_text("CC BY 4.0")
    return root


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def edit(visa: Path, old: str, new: str) -> Path:
    path = visa / "split_csv" / "1cls.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_reads_the_split(visa: Path) -> None:
    candle, pcb = VISA.read(visa)
    images = visa / "candle" / "Data" / "Images"
    mask = visa / "candle" / "Data" / "Masks" / "Anomaly" / "000.png"
    assert candle == ProductClass(
        "candle",
        tuple(Sample(images / "Normal" / f"000{i}.JPG", "candle") for i in range(3)),
        (
            *(Sample(images / "Normal" / f"000{i}.JPG", "candle") for i in (3, 4)),
            Sample(images / "Anomaly" / "000.JPG", "candle", "anomaly", mask),
        ),
    )
    assert (pcb.name, len(pcb.train), len(pcb.test)) == ("pcb1", 3, 3)
    assert read_mask(mask).sum() == 24  # the values 1 and 2


def test_is_recognised_and_chosen_from(visa: Path) -> None:
    assert find_layout(visa).name == "visa"
    (only,) = read_data(visa, ["pcb1"], split="test")
    assert (only.name, only.train, len(only.test)) == ("pcb1", (), 3)


def test_unknown_class(visa: Path, complains: Complains) -> None:
    with complains(visa, "fryum", "candle, pcb1", "--classes"):
        VISA.read(visa, ["fryum"])


def test_without_its_csv_file(visa: Path, complains: Complains) -> None:
    path = visa / "split_csv" / "1cls.csv"
    path.unlink()
    assert find_layout(visa).name == "visa"
    with complains(path, "is missing", "amazon-science/spot-diff"):
        VISA.read(visa)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("object,split", "category,split", ("category", "expected object, split, label")),
        (",train,normal", ",training,normal", ("line 2", "'training'", "train or test")),
        (",test,anomaly", ",test,bad", ("'bad'", "normal or anomaly")),
        ("pcb1,train,normal,pcb1/Data/Images/Normal/0001.JPG,", "pcb1,train", ("cut short",)),
    ],
)
def test_a_csv_file_that_is_wrong(
    visa: Path, complains: Complains, old: str, new: str, parts: tuple[str, ...]
) -> None:
    with complains(edit(visa, old, new), *parts):
        VISA.read(visa)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"])
def test_not_a_csv_file(visa: Path, complains: Complains, content: bytes) -> None:
    path = visa / "split_csv" / "1cls.csv"
    path.write_bytes(content)
    with complains(path, "download the file again"):
        VISA.read(visa)


@pytest.mark.parametrize("file", ["Images/Normal/0001.JPG", "Masks/Anomaly/000.png"])
def test_a_listed_file_is_missing(visa: Path, complains: Complains, file: str) -> None:
    path = visa / "pcb1" / "Data" / file
    path.unlink()
    with complains(path, "is listed in", "unpack"):
        VISA.read(visa)


def test_too_few_to_train_on(visa: Path, complains: Complains) -> None:
    for _ in range(2):
        path = edit(visa, "pcb1,train", "pcb1,test")
    with complains(path, "1 images to train class pcb1", "--classes"):
        VISA.read(visa)


def test_check_names_the_unlisted(visa: Path, write_image: WriteImage) -> None:
    extra = write_image(visa / "candle" / "Data" / "Images" / "Normal" / "9999.JPG")
    inventory = check_data(visa)
    assert any(extra.name in note and "1cls.csv lists" in note for note in inventory.notes)
    assert any("10 of the 12 classes of VisA" in note for note in inventory.notes)
    assert inventory.problems == ()


def test_files_in_another_case_or_form_of_unicode(visa: Path) -> None:
    before = [len(c.train) + len(c.test) for c in VISA.read(visa)]
    images = visa / "candle" / "Data" / "Images"
    for path in list((images / "Normal").iterdir()):
        path.rename(path.with_suffix(".jpg"))
    images.rename(images.with_name("images"))
    split = visa / "split_csv" / "1cls.csv"
    split.write_text(split.read_text().replace("pcb1", "mu\u0308tter"), encoding="utf-8")
    (visa / "pcb1").rename(visa / "mütter")
    after = VISA.read(visa)
    assert [c.name for c in after] == ["candle", "mütter"]
    assert [len(c.train) + len(c.test) for c in after] == before
    assert all(s.path.is_file() for c in after for s in (*c.train, *c.test))
    assert len(VISA.read(visa, ["mu\u0308tter"])) == 1
