import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mambaad
import mambaad.report.inspection_page
from mambaad.artifacts.manifest import PROTOTYPES
from mambaad.errors import DataError, RunError
from mambaad.inference.explain import Explainer, Explanation
from mambaad.inspection.prediction import Prediction
from mambaad.report.explaining import sentences
from mambaad.report.inspection_page import InspectionPage
from mambaad.types import Region, Verdict
from mambaad.workflows.calibrate import calibrate
from tests.runs import change


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


LAYERS = ("image", "heat", "outline", "truth")


def size_of(folder, address):
    if not address:
        return None
    with Image.open(folder / address) as picture:
        return picture.size


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
    assert f"<dd>{images}</dd>" in page
    assert [images / card["name"] for card in found] == [Path(record.path) for record in records]
    for card, record in zip(found, records, strict=True):
        if record.error:
            assert (card["verdict"], card["shot"]) == ("ERROR", None)
            assert "cannot be read as an image" in card["what"]
            continue
        assert card["verdict"] == record.verdict.value
        is_flagged = record.verdict.value in ("REVIEW", "FAIL")
        sizes = {kind: size_of(tmp_path / "page", card["shot"][kind]) for kind in LAYERS}
        assert sizes["image"] == (72, 80)  # not enlarged
        assert sizes["heat"] == (64, 64)  # the map's
        assert sizes["outline"] == ((72, 80) if is_flagged else None)
        assert sizes["truth"] is None
        assert bool(card["near"]) == is_flagged
        assert bool(card["where"]) == is_flagged
        assert "times the limit for FAIL" in card["sure"]
        if is_flagged:
            assert "at stride 8" in " ".join(card["details"])
            assert "the most similar place on a good part" in card["near_words"]
            assert size_of(tmp_path / "page", card["near"]) == (2 * 256, 256)
            assert size_of(tmp_path / "page", card["scales"]) == (3 * 256, 256)
            assert card["what"].startswith(("Looks defective in", "Perhaps defective in"))
    assert "calibrated (hold-out)" in page
    assert "1 of" not in page


def test_a_run_without_a_calibration(trained_run, parts, tmp_path):
    mambaad.predict(
        trained_run, [parts / "nut" / "test"], tmp_path / "out", report=tmp_path / "page"
    )
    found, page = cards(tmp_path / "page")
    assert {card["verdict"] for card in found} == {""}
    assert all(card["severity"] is not None for card in found)
    assert "is not calibrated" in page
    assert f"mambaad calibrate {trained_run} DATA --cross-fit 3" in page
    assert "FAIL" not in page.split("<script")[0]  # no columns, filters or limits of verdicts
    opacity = []
    for card in found:
        with Image.open(tmp_path / "page" / card["shot"]["heat"]) as layer:
            opacity.append(np.asarray(layer)[..., 3].max())
    assert max(opacity) > 190  # the most unusual place has the last colour


def test_a_run_whose_training_has_not_ended(trained_run, parts, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    change(run, {}, removed=[PROTOTYPES])
    mambaad.predict(run, [parts / "nut" / "test"], tmp_path / "out", report=tmp_path / "page")
    found, page = cards(tmp_path / "page")
    assert "--resume, then calibrate" in page
    drawn = []
    for card in found:
        with Image.open(tmp_path / "page" / card["shot"]["heat"]) as layer:
            drawn.append(np.asarray(layer)[..., 3].max())
    assert max(drawn) > 190


def test_an_evaluation_on_a_page(strict, many_parts, tmp_path):
    mambaad.evaluate(strict, many_parts, report=tmp_path / "page")
    found, page = cards(tmp_path / "page")
    assert len(found) == 12
    assert {card["truth"] for card in found} == {"good", "spot"}
    assert {bool(card["shot"]["truth"]) for card in found if card["truth"] == "spot"} == {True}
    assert {card["name"] for card in found} >= {"bolt/test/good/000.png", "nut/test/spot/002.png"}
    for card in found:
        stopped = card["verdict"] != "PASS"
        mistakes = {"spot": "found" if stopped else "missed"}
        mistakes["good"] = {"PASS": "passed", "REVIEW": "to review"}.get(
            card["verdict"], "false alarm"
        )
        assert card["outcome"] == mistakes[card["truth"]]
    missed = sum(card["outcome"] == "missed" for card in found)
    assert f"{6 - missed} of 6 defects found, {missed} missed; " in page


def test_a_page_that_cannot_be_made(strict, many_parts, tmp_path):
    (tmp_path / "file").write_text("mine")
    image = next((many_parts / "nut" / "test" / "good").iterdir())
    with pytest.raises(RunError, match=r"file cannot be written \(File exists\)"):
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
    assert size_of(tmp_path / "page", card["shot"]["image"]) == (576, 640)
    assert card["shot"]["ratio"] == pytest.approx(72 / 80)


def test_a_damaged_good_part_is_left_out(strict, many_parts, tmp_path, capsys):
    data = shutil.copytree(many_parts, tmp_path / "data")
    for path in sorted((data / "nut" / "train" / "good").iterdir())[:5]:
        path.write_bytes(b"no image")
    images = [many_parts / "nut" / "test"]
    page = tmp_path / "page"
    mambaad.predict(strict, images, tmp_path / "out", product="nut", report=page, good=data)
    assert "000.png cannot be read as an image" in capsys.readouterr().err
    found, _ = cards(page)
    explained = [card for card in found if card["near"]]
    assert explained
    assert all("on a good part" in card["near_words"] for card in explained)


def test_what_fails_of_the_page_is_a_note_on_its_card(strict, many_parts, tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError("no\nreason")

    monkeypatch.setattr(Explainer, "explain", broken)
    (tmp_path / "page" / "pictures" / "000001.jpg").mkdir(parents=True)  # cannot be written
    images = [many_parts / "nut" / "test"]
    records = mambaad.predict(
        strict, images, tmp_path / "out", product="nut", report=tmp_path / "page"
    )
    assert [record.error for record in records] == [None] * 6
    found, _ = cards(tmp_path / "page")
    assert found[0]["shot"] is None
    assert "No picture is available: " in found[0]["details"][0]
    assert all(card["shot"] for card in found[1:])
    flagged = [card for card, record in zip(found, records, strict=True) if record.regions]
    assert flagged
    for card in flagged:
        assert card["details"][-1] == "No explanation is available: no reason"
        assert card["near"] == ""


def test_only_so_many_are_explained(strict, many_parts, tmp_path, monkeypatch):
    monkeypatch.setattr(mambaad.report.inspection_page, "MOST_EXPLAINED", 1)
    images = [many_parts / "nut" / "test"]
    records = mambaad.predict(
        strict, images, tmp_path / "out", product="nut", report=tmp_path / "page"
    )
    assert sum(bool(record.regions) for record in records) > 1
    found, page = cards(tmp_path / "page")
    assert sum(bool(card["near"]) for card in found) == 1
    left_out = [card["details"] for card in found if card["details"]][1:]
    assert left_out[0] == ["Only the first 1 flagged parts of a class are explained."]
    assert "the first 1 flagged parts of a class" in page.split("<h2>")[0]


def test_a_calibrated_model_that_knows_no_product(strict, many_parts, tmp_path, monkeypatch):
    def strange(observation, *args):
        verdict = Verdict.UNKNOWN_PRODUCT
        return Prediction(observation.score, observation.anomaly_map, verdict=verdict)

    monkeypatch.setattr("mambaad.inspection.inspector.decide", strange)
    image = many_parts / "nut" / "test" / "good" / "000.png"
    mambaad.predict(strict, [image], tmp_path / "out", report=tmp_path / "page")
    (card,), page = cards(tmp_path / "page")
    assert (card["product"], card["verdict"]) == ("", "UNKNOWN PRODUCT")
    assert "is not calibrated" not in page


def test_an_earlier_page_goes_before_its_pictures_do(strict, tmp_path):
    (tmp_path / "index.html").write_text("earlier")
    InspectionPage(tmp_path, mambaad.Inspector(strict))
    assert not (tmp_path / "index.html").exists()
    (tmp_path / "index.html").mkdir()
    with pytest.raises(RunError, match=r"--report: .*index\.html cannot be written"):
        InspectionPage(tmp_path, mambaad.Inspector(strict))


def test_words_for_maps_of_one_stride():
    maps = np.ones((2, 4, 4), np.float32)
    region = Region((0, 0, 1, 1), 1.0, None, 1.0, (0, 0))
    prediction = Prediction(1.0, maps[0], regions=(region,))
    assert sentences(Explanation((0, 0), maps, (0.3, 0.7), (14, 14), {}), prediction) == [
        "Contributions of the encoder's maps to the score: 30% by map 1 (early blocks), 70% by map "
        "2 (late blocks)."
    ]


def test_words_for_a_system_with_a_single_map():
    single = np.ones((1, 4, 4), np.float32)
    region = Region((0, 0, 1, 1), 1.0, None, 1.0, (0, 0))
    prediction = Prediction(1.0, single[0], regions=(region,))
    lines = sentences(Explanation((0, 0), single, (1.0,), (16,), {}), prediction)
    assert lines == ["The encoder's maps are compared as one, at stride 16."]
