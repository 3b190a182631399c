import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import mambaad
from mambaad.artifacts.manifest import CALIBRATION, PROTOTYPES, WEIGHTS
from mambaad.config import make_config
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.data.splits import hold_out
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inspection.calibration import read_calibration
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.workflows import calibrate as module
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.calibration_table import calibration_notes, calibration_rows
from mambaad.workflows.train import train_run
from tests.conftest import SMALL, SMALL_BASE, make_parts
from tests.runs import change, change_tensors, content, read, tensors

SIZE = (64, 64)


@pytest.fixture
def run(calibrated_run, tmp_path):
    return shutil.copytree(calibrated_run, tmp_path / "run")


def test_scores_are_those_of_the_held_out_parts(calibrated_run, many_parts):
    calibration = read(read_calibration, calibrated_run, SIZE)
    assert calibration.method == "hold-out"
    _, out = hold_out(MVTEC.read(many_parts), share=0.5, seed=42)
    inspector = mambaad.Inspector(calibrated_run)
    for c in out:
        scores = sorted(inspector.inspect(s.path, c.name).score for s in c.train)
        assert sorted(calibration.classes[c.name].scores) == scores
        assert len(scores) == 15


def test_held_out_parts_are_not_trained_on(calibrated_run, many_parts, tmp_path):
    # The same weights as from a data set without them.
    left, _ = hold_out(MVTEC.read(many_parts), share=0.5, seed=42)
    for sample in (s for c in left for s in c.train):
        target = tmp_path / "data" / sample.path.relative_to(many_parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, target)
    other = mambaad.train(tmp_path / "data", tmp_path / "other", **SMALL_BASE)
    ours = content(calibrated_run)
    assert ours == content(other)


def test_again_is_the_same(run, many_parts):
    before = content(run, CALIBRATION)
    calibrate(run, many_parts, target_fpr=0.1, review_fpr=0.2)
    assert content(run, CALIBRATION) == before


def test_too_few_parts_are_refused(run, many_parts):
    calibration = calibrate(run, many_parts)
    for c in calibration.classes.values():
        assert c.fail.value == c.scores.max()
        assert c.fail.rate == pytest.approx(1 / 16)
    heading, *rows = calibration_rows(calibration)
    assert len({len(row) for row in (heading, *rows)}) == 1
    assert rows[0][:2] == ["bolt", "15"]
    assert "1.0% needs 99 good parts" in rows[0][-1]
    (note,) = calibration_notes(calibration)
    assert "the same score for bolt (15 good parts), nut (15 good parts): none of these" in note
    assert "calibrate on 39 good parts or more of each, or with a larger --review-fpr" in note


@pytest.mark.parametrize(("count", "is_said"), [(38, True), (39, False)])
def test_thresholds_that_coincide_are_said_until_there_are_enough_parts(count, is_said):
    scores = np.linspace(0, 1, count)
    review, fail = (conformal_threshold(scores, asked) for asked in (0.05, 0.01))
    c = SimpleNamespace(review=review, fail=fail, scores=scores)
    assert bool(calibration_notes(SimpleNamespace(classes={"bolt": c}))) == is_said


def test_cross_fitting_scores_every_part_by_a_model_that_has_not_seen_it(
    many_parts, tmp_path, monkeypatch
):
    settings = {**SMALL, "epochs": 1, "size": "32"}
    run = mambaad.train(many_parts, tmp_path / "run", **settings)
    calibration = calibrate(run, many_parts, cross_fit=2)
    assert (calibration.method, calibration.folds) == ("cross-fit", 2)
    assert not (run / "cross_fit").exists()
    expected = []
    for k in (1, 2):
        _, out = hold_out(MVTEC.read(many_parts), fold=(k, 2), seed=42)
        config = make_config({**settings, "epochs": 2, "fold": (k, 2)})
        model = train_run(many_parts, tmp_path / str(k), config)
        inspector = mambaad.Inspector(model)
        expected += [inspector.inspect(s.path).score for s in out[0].train]
    assert sorted(calibration.classes["bolt"].scores) == sorted(expected)
    assert len(expected) == 30
    # Verdicts are the run's own.
    assert mambaad.Inspector(run).inspect(np.zeros((80, 72, 3), np.uint8)).verdict is not None


def further_parts(root, seen):
    # Nine of each class, after as many as a model was trained on.
    make_parts(root, train=seen + 9)
    for number in range(seen):
        for path in root.glob(f"*/train/good/{number:03}.png"):
            path.unlink()
    return root


def test_new_parts(trained_run, parts, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    new = further_parts(tmp_path / "new", 6)
    calibration = calibrate(run, new, new_parts=True)
    assert calibration.method == "new parts"
    assert {len(c.scores) for c in calibration.classes.values()} == {12}  # 9, and 3 of test
    with pytest.raises(DataError, match="holds 12 of the parts that"):
        calibrate(run, parts, new_parts=True)
    # One is enough, whatever it is called.
    shutil.copy(parts / "nut" / "train" / "good" / "003.png", new / "bolt" / "test" / "good")
    with pytest.raises(DataError, match=r"holds 1 of the parts that .*003\.png; remove"):
        calibrate(run, new, new_parts=True)


def test_new_parts_may_be_the_held_out_ones(run, many_parts, tmp_path):
    new = shutil.copytree(many_parts, tmp_path / "new")
    left, _ = hold_out(MVTEC.read(new), share=0.5, seed=42)
    for sample in (s for c in left for s in c.train):
        sample.path.unlink()
    calibration = calibrate(run, new, new_parts=True)
    assert {len(c.scores) for c in calibration.classes.values()} == {18}  # 15, and 3 of test


def test_other_contents_are_other_parts(run, many_parts, tmp_path):
    data = shutil.copytree(many_parts, tmp_path / "data")
    path = data / "nut" / "train" / "good" / "000.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the checksum of the last chunk, which no decoder asks for
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"does not hold the parts that .* \(other contents"):
        calibrate(run, data)
    # The same contents in another order: others would be kept out.
    shutil.rmtree(data)
    shutil.copytree(many_parts, data)
    (data / "nut" / "train" / "good" / "000.png").rename(data / "nut" / "train" / "good" / "z.png")
    with pytest.raises(DataError, match="or another order"):
        calibrate(run, data)


def defective(samples, path):
    return tuple(
        dataclasses.replace(s, defect_type="spot") if s.path == path else s for s in samples
    )


@pytest.mark.parametrize("how", ["hold-out", "cross-fit", "new parts"])
def test_defective_parts_among_those_to_train_on_are_not_used(
    run, trained_run, parts, many_parts, tmp_path, monkeypatch, how
):
    data, settings, count = many_parts, {}, 15
    if how == "cross-fit":
        run = shutil.copytree(trained_run, tmp_path / "other")
        data, settings, count = parts, {"cross_fit": 2}, 6
    elif how == "new parts":
        data, settings, count = further_parts(tmp_path / "new", 30), {"new_parts": True}, 12
    read = module.list_data

    def with_noise(*args, **kwargs):
        # As in Real-IAD's noisy settings: training images that are marked as defective.
        classes = read(*args, **kwargs)
        _, out = hold_out(classes, share=0.5, seed=42)
        path = out[0].train[0].path
        return [dataclasses.replace(c, train=defective(c.train, path)) for c in classes]

    monkeypatch.setattr(module, "list_data", with_noise)
    calibration = calibrate(run, data, **settings)
    assert len(calibration.classes["bolt"].scores) == count - 1
    assert len(calibration.classes["nut"].scores) == count


def test_a_class_without_good_parts_is_named(run, many_parts, monkeypatch):
    monkeypatch.setattr(module, "_good_samples", lambda samples: ())
    with pytest.raises(DataError, match="has no good parts of bolt to calibrate on; give some"):
        calibrate(run, many_parts)


def test_wrong_parts_are_refused_before_any_training(trained_run, parts, tmp_path, monkeypatch):
    run = shutil.copytree(trained_run, tmp_path / "run")
    monkeypatch.setattr(
        "mambaad.workflows.train.train_run", lambda *args, **kwargs: pytest.fail("trained")
    )
    monkeypatch.setattr(
        "mambaad.workflows.training_parts.check_images", lambda *args, **kwargs: pytest.fail("read")
    )
    with pytest.raises(ConfigError, match="--precision: expected one of"):
        calibrate(run, parts, cross_fit=2, precision="float8")
    monkeypatch.undo()
    monkeypatch.setattr(
        "mambaad.workflows.train.train_run", lambda *args, **kwargs: pytest.fail("trained")
    )
    with pytest.raises(DataError, match="too few to hold out one of 7 folds") as caught:
        calibrate(run, parts, cross_fit=7)
    assert "(mambaad train --classes)" in str(caught.value)  # calibrate has no such flag
    assert not (run / "cross_fit").exists()


@pytest.mark.parametrize(("asked", "needed"), [(0.01, 99), (0.03, 33), (0.3, 3), (0.07, 14)])
def test_the_stated_number_of_parts_is_enough(asked, needed):
    short = conformal_threshold([1.0], asked)
    c = SimpleNamespace(review=short, fail=short, scores=[1.0])
    _, row = calibration_rows(SimpleNamespace(classes={"bolt": c}))
    assert row[-1] == f"{asked:.1%} needs {needed} good parts"
    assert conformal_threshold(range(needed), asked).is_reached
    assert not conformal_threshold(range(needed - 1), asked).is_reached


def test_models_of_an_interrupted_cross_fit_go_with_the_next_calibration(run, many_parts):
    (run / "cross_fit" / "1_of_3").mkdir(parents=True)
    calibrate(run, many_parts)
    assert not (run / "cross_fit").exists()


def test_a_model_trained_on_since_has_no_verdicts(run, many_parts, capsys):
    weights, metadata = tensors(run)
    first = next(name for name, values in weights.items() if values.dtype == np.float32)
    change_tensors(run, WEIGHTS, {**weights, first: weights[first] + 1e-3}, metadata)
    inspector = mambaad.Inspector(run)
    assert inspector.calibration is None
    assert "trained further after calibration" in capsys.readouterr().err
    image = next((many_parts / "nut" / "test" / "good").iterdir())
    assert inspector.inspect(image).verdict is None


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"target_fpr": 0},
            "--target-fpr: expected a share of at least 0.000001 and below 1, got 0",
        ),
        ({"review_fpr": 1}, "--review-fpr: expected a share"),
        ({"target_fpr": 0.3, "review_fpr": 0.2}, "--review-fpr 0.2 is below --target-fpr 0.3"),
        ({"cross_fit": 3}, "--cross-fit and the run's own hold-out exclude each other"),
        ({"cross_fit": 3, "new_parts": True}, "--cross-fit and --new-parts exclude each other"),
        ({"precision": "float8"}, "--precision: expected one of"),
    ],
)
def test_wrong_settings(run, many_parts, settings, complaint):
    before = content(run, CALIBRATION)
    with pytest.raises(ConfigError, match=complaint):
        calibrate(run, many_parts, **settings)
    assert content(run, CALIBRATION) == before


def test_other_parts_and_no_parts(run, parts, trained_run, tmp_path):
    with pytest.raises(DataError, match="does not hold the parts that"):
        calibrate(run, parts)
    with pytest.raises(ConfigError, match="thresholds need others: give --cross-fit 3"):
        calibrate(trained_run, parts)
    with pytest.raises(ConfigError, match="expected 2 models or more, got 1"):
        calibrate(trained_run, parts, cross_fit=1)
    unfinished = shutil.copytree(trained_run, tmp_path / "unfinished")
    change(unfinished, {}, [PROTOTYPES])
    with pytest.raises(RunError, match="training has not ended"):
        calibrate(unfinished, parts)
