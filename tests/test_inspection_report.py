import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.calibrate import calibrate
from mambaad.errors import DataError, RunError
from mambaad.verdicts import evaluate_verdicts


@pytest.fixture(scope="module")
def strict(calibrated_run, many_parts, tmp_path_factory):
    """A run whose thresholds are so low that most parts fail."""
    run = shutil.copytree(calibrated_run, tmp_path_factory.mktemp("runs") / "strict")
    calibrate(run, many_parts, target_fpr=0.6, review_fpr=0.95)
    return run


def cards(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text), page


def test_predictions_on_a_page(strict, many_parts, tmp_path):
    images = tmp_path / "in"
    shutil.copytree(many_parts / "nut" / "test", images)
    (images / "broken.png").write_bytes(b"no image")
    records = mambaad.predict(
        strict,
        [images],
        tmp_path / "out",
        product="nut",
        report=tmp_path / "page",
        good=many_parts,
    )
    found, page = cards(tmp_path / "page")
    assert [card["name"] for card in found] == [record.path for record in records]
    for card, record in zip(found, records, strict=True):
        if record.error:
            assert (card["verdict"], card["picture"]) == ("ERROR", None)
            assert "cannot be read as an image" in card["reason"]
            continue
        assert card["verdict"] == record.verdict.value
        with Image.open(tmp_path / "page" / card["picture"]) as picture:
            assert picture.width == 2 * 72  # image and heatmap, not enlarged
        assert bool(card["explained"]) == (record.verdict.value in ("REVIEW", "FAIL"))
        if card["explained"]:
            text = " ".join(card["explanation"])
            assert "at stride 8" in text
            assert "most like it in a good part" in text
            with Image.open(tmp_path / "page" / card["explained"]) as picture:
                assert picture.size == (5 * 256, 256)
    assert "calibrated (hold-out)" in page
    assert "1 of" not in page


def test_a_run_without_a_calibration(trained_run, parts, tmp_path):
    mambaad.predict(
        trained_run, [parts / "nut" / "test"], tmp_path / "out", report=tmp_path / "page"
    )
    found, page = cards(tmp_path / "page")
    assert {card["verdict"] for card in found} == {""}
    assert all(card["level"] is not None for card in found)
    assert "not calibrated" in page


def test_an_evaluation_on_a_page(strict, many_parts, tmp_path):
    evaluate_verdicts(strict, many_parts, report=tmp_path / "page")
    found, page = cards(tmp_path / "page")
    assert len(found) == 12
    assert {card["truth"] for card in found} == {"good", "spot"}
    assert "Verdicts, product told" in page


def test_a_page_that_cannot_be_made(strict, many_parts, tmp_path):
    (tmp_path / "file").write_text("mine")
    image = next((many_parts / "nut" / "test" / "good").iterdir())
    with pytest.raises(RunError, match=r"--report: .* cannot be made"):
        mambaad.predict(strict, [image], tmp_path / "out", report=tmp_path / "file")
    with pytest.raises(DataError):
        mambaad.predict(
            strict, [image], tmp_path / "out", report=tmp_path / "page", good=tmp_path / "absent"
        )


def test_pictures_keep_their_shape(strict, many_parts, tmp_path):
    image = np.asarray(Image.open(many_parts / "nut" / "test" / "good" / "000.png"))
    wide = np.tile(image, (8, 8, 1))
    Image.fromarray(wide).save(tmp_path / "wide.png")
    mambaad.predict(
        strict, [tmp_path / "wide.png"], tmp_path / "out", product="nut", report=tmp_path / "page"
    )
    (card,), _ = cards(tmp_path / "page")
    with Image.open(tmp_path / "page" / card["picture"]) as picture:
        assert picture.height == 256
        assert picture.width == 2 * 230
