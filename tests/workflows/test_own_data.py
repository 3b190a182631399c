"""Training, calibration and evaluation on a program's own data set, and a training's callbacks."""

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.artifacts.run_folder import read_log
from mambaad.data.readers.mvtec import LAYOUT
from mambaad.errors import ConfigError, DataError, RunError
from tests.conftest import SMALL, SMALL_BASE
from tests.runs import read, tensors


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def good(parts):
    """The good parts of the folder, in its order, as arrays."""
    return [(pixels(s.path), c.name) for c in LAYOUT.read(parts) for s in c.train]


@pytest.fixture(scope="module")
def tested(parts):
    """The test images of the folder, with their masks."""
    return [
        mambaad.Part(
            pixels(s.path), c.name, s.defect_type, pixels(s.mask_path) if s.mask_path else None
        )
        for c in LAYOUT.read(parts, split="test")
        for s in c.test
    ]


def assert_same_weights(run, other):
    ours, theirs = tensors(run)[0], tensors(other)[0]
    assert [key for key in theirs if not np.array_equal(ours[key], theirs[key])] == []


def test_arrays_train_the_model_that_their_files_train(good, tested, parts, trained_run, tmp_path):
    steps, epochs = [], []
    run = mambaad.train(
        good,
        tmp_path / "run",
        **SMALL,
        after_step=steps.append,
        after_epoch=epochs.append,
        validate_every=2,
        validate_on=tested,
    )
    assert_same_weights(run, trained_run)  # which no validation has changed either

    expected = mambaad.evaluate(run, parts)
    assert mambaad.evaluate(run, tested).classes == expected.classes
    assert expected.classes == mambaad.evaluate(trained_run, parts).classes

    assert [(s.epoch, s.epochs, s.step, s.steps) for s in steps] == [
        (1, 2, 1, 3), (1, 2, 2, 3), (1, 2, 3, 3), (2, 2, 1, 3), (2, 2, 2, 3), (2, 2, 3, 3)
    ]  # fmt: skip
    log = read(read_log, run)
    for number, (epoch, record) in enumerate(zip(epochs, log, strict=True), 1):
        assert (epoch.epoch, epoch.epochs, epoch.run) == (number, 2, run)
        assert epoch.loss == record["loss"]
        assert epoch.loss == pytest.approx(np.mean([s.loss for s in steps if s.epoch == number]))
        assert epoch.lr == record["lr"] == steps[0].lr
        assert epoch.seconds > 0 < epoch.images_per_s
    assert epochs[0].validation is None
    assert "validation" not in log[0]
    assert epochs[1].validation.mean == log[1]["validation"] == expected.mean


def test_thresholds_of_parts_that_a_program_has(many_parts, calibrated_run, tmp_path):
    data = [(pixels(s.path), c.name) for c in LAYOUT.read(many_parts) for s in c.train]
    run = mambaad.train(data, tmp_path / "run", **SMALL_BASE, holdout=0.5)
    found = mambaad.calibrate(run, data, target_fpr=0.1, review_fpr=0.2)
    expected = mambaad.Inspector(calibrated_run).calibration
    for name, c in expected.classes.items():
        assert np.array_equal(found.classes[name].scores, c.scores)
    with pytest.raises(DataError, match="the data does not hold the parts"):
        mambaad.calibrate(run, data[::-1])
    with pytest.raises(DataError, match=r"the data holds \d+ of the parts .* such as data"):
        mambaad.calibrate(run, data, new_parts=True)


def test_a_callback_may_end_a_training_that_is_resumed(good, trained_run, tmp_path):
    class EnoughError(Exception):
        pass

    def stop(epoch):
        assert mambaad.Inspector(epoch.run).inspect(good[0][0]).product is None  # not yet known
        raise EnoughError

    run = tmp_path / "run"
    with pytest.raises(EnoughError):
        mambaad.train(good, run, **SMALL, after_epoch=stop)
    with pytest.raises(RunError, match="does not hold the images"):
        mambaad.train(good[::-1], run, resume=True)
    epochs = []
    mambaad.train(good, run, resume=True, after_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [2]
    assert_same_weights(run, trained_run)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validate_every": 0}, ConfigError, "validate_every: expected 1 epoch or more, got 0"),
        ({"validate_every": True}, ConfigError, "validate_every: expected 1 epoch or more"),
        ({"validate_every": 1}, ConfigError, "validate_every needs validate_on"),
        ({"validate_on": []}, ConfigError, "validate_on needs validate_every"),
        ({"validate_every": 1, "validate_on": []}, DataError, "validate_on has no parts"),
        ({"validate_every": 1, "validate_on": 5}, ConfigError, "got int"),
        ({"devices": 2, "after_step": print}, ConfigError, "after_step.* need one device"),
        ({"devices": 2}, ConfigError, "--devices 2 needs images in files"),
        ({"layout": "mvtec"}, ConfigError, "layout is for data sets in folders"),
        ({"exclude": ["a.png"]}, ConfigError, "exclude is for data sets in folders"),
        ({"classes": ["washer"]}, ConfigError, "classes: the data have no parts of washer"),
    ],
)
def test_what_cannot_be_together_is_refused(good, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        mambaad.train(good, tmp_path / "run", **{**SMALL, **arguments})
    assert not (tmp_path / "run").exists()


def test_an_existing_folder_is_refused_before_anything_is_read(trained_run, tmp_path):
    class Untouched:
        def __len__(self):
            return pytest.fail("counted")

        def __getitem__(self, index):
            return pytest.fail("read")

    for data in (Untouched(), tmp_path / "absent"):
        with pytest.raises(RunError, match="exists and is not empty; resume it"):
            mambaad.train(data, trained_run)
