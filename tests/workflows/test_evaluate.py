import csv
import io
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import mambaad
from mambaad.errors import ConfigError, DataError
from mambaad.metrics.names import METRICS
from tests.conftest import SMALL, make_parts


@pytest.fixture(scope="module")
def evaluation(parts, trained_run):
    return mambaad.evaluate(trained_run, parts)


def test_the_figures_are_those_of_scikit_learn_on_single_images(evaluation, parts, trained_run):
    inspector = mambaad.Inspector(trained_run)
    scores, labels, maps, masks = [], [], [], []
    for path in sorted((parts / "nut" / "test").glob("*/*.png")):
        prediction = inspector.inspect(path)
        scores.append(prediction.score)
        labels.append(path.parent.name != "good")
        maps.append(prediction.anomaly_map)
        mask = np.zeros((64, 64), bool)
        if labels[-1]:
            file = parts / "nut" / "ground_truth" / "spot" / f"{path.stem}_mask.png"
            mask = np.asarray(Image.open(file).resize((64, 64), Image.Resampling.NEAREST)) > 0
        masks.append(mask)
    nut = evaluation.classes["nut"]
    assert nut["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert nut["image_ap"] == pytest.approx(average_precision_score(labels, scores))
    assert [score for score, _ in evaluation.scores["nut"]] == pytest.approx(scores)
    assert [bad for _, bad in evaluation.scores["nut"]] == labels
    pixels, truth = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
    assert nut["pixel_auroc"] == pytest.approx(roc_auc_score(truth, pixels), abs=1e-6)
    assert nut["pixel_ap"] == pytest.approx(average_precision_score(truth, pixels), abs=1e-6)


def test_json(evaluation):
    figures = json.loads(evaluation.to_json())
    assert figures["protocol"] == "exact"
    assert figures["size"] == [64, 64]
    assert list(figures["classes"]) == ["bolt", "nut"]
    for values in (*figures["classes"].values(), figures["mean"]):
        assert tuple(values) == METRICS
        assert all(0 <= value <= 1 for value in values.values())
        assert values["mad"] == pytest.approx(np.mean([values[m] for m in METRICS[:-1]]))
    for metric in METRICS:
        both = [values[metric] for values in figures["classes"].values()]
        assert figures["mean"][metric] == pytest.approx(np.mean(both))


def test_csv(evaluation):
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert [row["class"] for row in rows] == ["bolt", "nut", "mean"]
    assert float(rows[1]["pixel_aupro"]) == pytest.approx(
        evaluation.classes["nut"]["pixel_aupro"], abs=1e-6
    )


def test_the_other_protocol(parts, trained_run, evaluation):
    ader = mambaad.evaluate(trained_run, parts, protocol="ader-paper")
    assert ader.protocol == "ader-paper"
    assert ader.classes["nut"]["image_auroc"] == pytest.approx(
        evaluation.classes["nut"]["image_auroc"], abs=1e-3
    )
    with pytest.raises(ConfigError, match="--protocol: expected one of exact, ader-paper"):
        mambaad.evaluate(trained_run, parts, protocol="mine")


def test_without_masks_pixel_figures_are_null(trained_run, tmp_path):
    parts = make_parts(tmp_path / "parts")
    for mask in (parts / "nut" / "ground_truth").rglob("*.png"):
        mask.unlink()
    (parts / "nut" / "ground_truth" / "spot").rmdir()
    (parts / "nut" / "ground_truth").rmdir()
    evaluation = mambaad.evaluate(trained_run, parts)
    assert evaluation.classes["nut"]["pixel_aupro"] is None
    assert evaluation.classes["nut"]["mad"] is None
    assert evaluation.classes["nut"]["image_auroc"] is not None
    assert evaluation.mean["pixel_aupro"] == evaluation.classes["bolt"]["pixel_aupro"]


def test_unknown_classes_are_skipped(trained_run, tmp_path, capsys):
    more = make_parts(tmp_path / "more", classes=("washer", "nut"))
    assert list(mambaad.evaluate(trained_run, more).classes) == ["nut"]
    assert "washer: skipped" in capsys.readouterr().err
    other = make_parts(tmp_path / "other", classes=("washer",))
    with pytest.raises(DataError, match="none of the classes that the model was trained on"):
        mambaad.evaluate(trained_run, other)


def test_unreadable_images(trained_run, tmp_path, capsys):
    parts = make_parts(tmp_path / "parts")
    broken = parts / "nut" / "test" / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read as an image"):
        mambaad.evaluate(trained_run, parts)
    evaluation = mambaad.evaluate(trained_run, parts, skip_unreadable=True)
    assert evaluation.classes["nut"]["image_auroc"] is not None
    assert str(broken) in capsys.readouterr().err


def test_a_run_keeps_the_layout_that_was_declared(parts, tmp_path):
    declared = {
        "train": "{class}/train/good",
        "test": "{class}/test/{type}",
        "masks": "{class}/ground_truth/{type}",
        "good": ["good", "spot"],  # so that no test image counts as defective
    }
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1}, layout=declared)
    labels = [is_defective for _, is_defective in mambaad.evaluate(run, parts).scores["nut"]]
    assert labels == [False] * 6
