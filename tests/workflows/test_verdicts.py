import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

import mambaad
from mambaad.data.mask_files import read_mask
from mambaad.data.masks import resize_mask_nearest
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.errors import DataError, RunError
from mambaad.types import Verdict
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.verdicts import VerdictCounts, VerdictEvaluation


def evaluate_verdicts(run, data, **settings):
    return mambaad.evaluate(run, data, verdicts=True, **settings).verdicts


@pytest.fixture(scope="module")
def evaluation(calibrated_run, many_parts):
    return evaluate_verdicts(calibrated_run, many_parts)


def test_counts_are_those_of_inspecting_each_image(evaluation, calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    for c in MVTEC.read(many_parts, split="test"):
        for which, given in ((evaluation.given, c.name), (evaluation.inferred, None)):
            for bad, counts in ((False, which[c.name].good), (True, which[c.name].defective)):
                found = [
                    inspector.inspect(s.path, given).verdict
                    for s in c.test
                    if s.is_defective == bad
                ]
                assert counts == {v: found.count(v) for v in set(found)}


def test_unified_figures_against_scikit_learn(evaluation, calibrated_run, many_parts):
    inspector = mambaad.Inspector(calibrated_run)
    calibration = inspector.calibration
    scores, scaled, labels, maps, masks = [], [], [], [], []
    for c in MVTEC.read(many_parts, split="test"):
        k = calibration.classes[c.name]
        for s in c.test:
            prediction = inspector.inspect(s.path, c.name)
            scores.append(prediction.score)
            scaled.append((prediction.score - k.median) / (k.fail.value - k.median))
            labels.append(s.is_defective)
            maps.append(prediction.anomaly_map)
            mask = np.zeros((64, 64), dtype=bool)
            if s.mask_path:
                mask = resize_mask_nearest(read_mask(s.mask_path), 64, 64)
            masks.append(mask)
    raw, true = evaluation.unified["raw"], evaluation.unified["true product"]
    assert raw.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert true.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scaled))
    assert raw.metrics["pixel_ap"] == pytest.approx(
        average_precision_score(np.ravel(masks), np.ravel(maps)), abs=1e-4
    )
    assert 0 <= raw.false_alarms <= raw.worst_class <= 1
    bad = np.asarray(labels)
    # The j-th largest scaled score of the calibration's n, with j / (n + 1) the rate asked for.
    pooled = [
        (k.scores - k.median) / (k.fail.value - k.median) for k in calibration.classes.values()
    ]
    ordered = np.sort(np.concatenate(pooled))
    j = int((len(ordered) + 1) * 0.1)
    above = np.asarray(scaled) > ordered[-j]
    assert true.recall == above[bad].mean()
    assert true.false_alarms == above[~bad].mean()


def test_unified_scores_are_of_what_is_inspected(calibrated_run, many_parts, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    mask = np.zeros((80, 72), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    settings = tmp_path / "products.yaml"
    settings.write_text("bolt: {region_of_interest: left.png}\nnut: {ignore: left.png}\n")
    calibrate(run, many_parts, target_fpr=0.1, review_fpr=0.2, products=settings)
    inspector = mambaad.Inspector(run)
    by_scale = {"raw": [], "true product": []}
    labels = []
    for c in MVTEC.read(many_parts, split="test"):
        k = inspector.calibration.classes[c.name]
        for s in c.test:
            score = inspector.inspect(s.path, c.name).score
            by_scale["raw"].append(score)
            by_scale["true product"].append((score - k.median) / (k.fail.value - k.median))
            labels.append(s.is_defective)
    found = evaluate_verdicts(run, many_parts)
    for scale, scores in by_scale.items():
        metrics = found.unified[scale].metrics
        assert metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))


def test_unreadable_images_may_be_skipped(calibrated_run, many_parts, tmp_path, capsys):
    data = shutil.copytree(many_parts, tmp_path / "data")
    broken = data / "nut" / "test" / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=r"001\.png cannot be read .*--skip-unreadable"):
        evaluate_verdicts(calibrated_run, data)
    found = evaluate_verdicts(calibrated_run, data, skip_unreadable=True)
    assert sum(found.given["nut"].good.values()) == 2
    assert "left out: " in capsys.readouterr().err


def test_the_tables(evaluation):
    heading, *rows = evaluation.to_rows(evaluation.given)
    assert [row[0] for row in rows] == ["bolt", "nut", "all"]
    assert {len(row) for row in (heading, *rows)} == {10}
    assert rows[-1][1] == "6"
    counts = evaluation.given["bolt"]
    assert rows[0][2] == f"{100 * counts.good[Verdict.FAIL] / 3:.1f}"
    heading, *rows = evaluation.unified_rows()
    assert [row[0] for row in rows] == ["raw", "inferred product", "true product"]
    assert {len(row) for row in (heading, *rows)} == {11}


def counted(good, defective):
    counts = VerdictCounts()
    for is_defective, verdicts in ((False, good), (True, defective)):
        for verdict in verdicts:
            counts.add(verdict, is_defective, named_right=True)
    return counts


def test_what_was_found_in_numbers_of_parts():
    PASS, REVIEW, FAIL, BAD = Verdict.PASS, Verdict.REVIEW, Verdict.FAIL, Verdict.BAD_IMAGE
    classes = {
        "bolt": counted([PASS, PASS, REVIEW, FAIL], [FAIL, FAIL, REVIEW, PASS]),
        "nut": counted([PASS], [PASS, PASS, FAIL]),
        "cap": counted([PASS, PASS], []),
    }
    found = VerdictEvaluation(classes, {}, {})
    assert found.lead() == (
        "4 of 7 defects found, 3 missed; 1 false alarm among 7 good parts, 1 more to review."
    )
    assert found.plain_rows() == [
        ["class", "defects found", "missed", "false alarms", "good to review"],
        ["bolt", "3 of 4", "1", "1 of 4", "1"],
        ["nut", "1 of 3", "2", "0 of 1", "0"],
        ["cap", "-", "-", "0 of 2", "0"],
        ["all", "4 of 7", "3", "1 of 7", "1"],
    ]
    (warning,) = found.warnings()
    assert warning.startswith("Most defects are missed of nut (2 of 3).")
    # What was not judged is neither found nor missed.
    one = VerdictEvaluation({"bolt": counted([BAD], [BAD, FAIL])}, {}, {})
    assert one.lead() == (
        "1 of 2 defects found, 0 missed; 0 false alarms among 1 good part, 0 more to review; "
        "2 not judged."
    )
    assert one.plain_rows()[1] == ["bolt", "1 of 2", "0", "0 of 1", "0", "2"]
    assert one.warnings() == []


def test_what_cannot_be_judged(trained_run, calibrated_run, parts, tmp_path):
    with pytest.raises(RunError, match="has no calibration for float32"):
        evaluate_verdicts(trained_run, parts)
    with pytest.raises(RunError, match="has no calibration for bfloat16"):
        evaluate_verdicts(calibrated_run, parts, precision="bfloat16")
    with pytest.raises(DataError):
        evaluate_verdicts(calibrated_run, tmp_path)
