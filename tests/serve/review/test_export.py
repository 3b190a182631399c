import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mambaad.data.images import read_image
from mambaad.data.layouts import read_data
from mambaad.errors import ConfigError, DataError
from mambaad.serve.review.export import export_decisions
from tests.serve.review.samples import SECRET, part


def image_bytes(number, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(file, kind)
    return file.getvalue()


def image_of(reviewed):
    return image_bytes(int(reviewed.id[1:]))


PARTS = [
    part(1, "PASS", "good", probability=0.02),
    part(2, "REVIEW", "good", probability=0.0),
    part(3, "FAIL", "defective", probability=0.0, score=0.5),
    part(4, "REVIEW", "unsure", probability=0.0),
    part(5, "PASS", None, probability=0.02),
    part(6, "PASS", "good", probability=0.02, product="nut"),
    part(7, "PASS", "good", probability=0.02, product="nut"),
]


def test_decisions_are_a_data_set_that_training_reads(tmp_path):
    counts = export_decisions(PARTS, tmp_path / "set", image_of)
    assert counts == {"good": 4, "defective": 1}
    bolt, nut = read_data(tmp_path / "set")
    assert [s.path.name for s in bolt.train] == ["i000001.png", "i000002.png"]
    assert [(s.path.name, s.is_defective, s.mask_path) for s in bolt.test] == [
        ("i000003.png", True, None)
    ]
    assert len(nut.train) == 2
    assert bolt.train[0].path.read_bytes() == image_bytes(1)


def test_the_table_says_where_each_file_came_from(tmp_path):
    export_decisions(PARTS, tmp_path / "set", image_of)
    with (tmp_path / "set" / "origin.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [
        "bolt/train/good/i000001.png",
        "bolt/train/good/i000002.png",
        "bolt/test/defective/i000003.png",
        "nut/train/good/i000006.png",
        "nut/train/good/i000007.png",
    ]
    assert rows[0]["sha256"] == PARTS[0].digest
    assert (rows[0]["drawn"], rows[0]["probability"]) == ("yes", "0.02")
    assert (rows[2]["verdict"], rows[2]["score"], rows[2]["drawn"]) == ("FAIL", "0.5", "no")
    assert "Do NOT calibrate" in (tmp_path / "set" / "READ ME FIRST.txt").read_text()


def test_a_set_for_calibration_has_the_random_share_alone(tmp_path):
    decided = [p for p in PARTS if p.decision]
    with pytest.raises(DataError, match="1 of 2 drawn parts wait"):
        export_decisions(PARTS, tmp_path / "set", image_of, for_calibration=True, secret=SECRET)
    counts = export_decisions(
        decided, tmp_path / "set", image_of, for_calibration=True, secret=SECRET
    )
    assert counts == {"good": 3}
    names = sorted(path.name for path in (tmp_path / "set").rglob("*.png"))
    assert names == ["i000001.png", "i000006.png", "i000007.png"]


def test_parts_without_image_or_product_are_counted(tmp_path):
    parts = [PARTS[0], replace(PARTS[1], product=None)]
    counts = export_decisions(
        parts, tmp_path / "set", lambda p: None if p is PARTS[0] else image_bytes(1)
    )
    assert counts == {"without image": 1, "no product": 1}


def test_kinds_of_images_keep_their_suffix(tmp_path):
    for kind in ("JPEG", "BMP", "TIFF", "WEBP"):
        content, given = image_bytes(9, kind), replace(PARTS[0], format=kind)
        export_decisions([given], tmp_path / kind, lambda _, content=content: content)
        (path,) = (tmp_path / kind / "bolt/train/good").iterdir()
        assert (path.suffix, path.read_bytes()) == (f".{kind.lower()}", content)
        assert read_image(path).shape == (8, 8, 3)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        export_decisions(PARTS, tmp_path, image_of)


@pytest.mark.parametrize("product", ["../out", "a/b", ".hidden", "", "x" * 101])
def test_no_name_leaves_the_folder(tmp_path, product):
    with pytest.raises(DataError, match="can name files"):
        export_decisions([replace(PARTS[0], product=product)], tmp_path / "set", image_of)
    assert not list(tmp_path.rglob("*.png"))
    assert not (tmp_path / "set").exists()


def test_a_spreadsheet_takes_no_serial_number_for_a_formula(tmp_path):
    export_decisions([replace(PARTS[0], serial="=1+1")], tmp_path / "set", image_of)
    assert "'=1+1" in (tmp_path / "set" / "origin.csv").read_text()
