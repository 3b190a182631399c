"""Drift found from images to alarm: the lamp dims, the lens blurs, the camera moves."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

import mambaad
from mambaad.data.images import read_image
from mambaad.files import write_text
from mambaad.inspection.records import record_of
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.monitor import monitor
from tests.conftest import SMALL, make_parts

PARTS = 120  # of a class to calibrate on; as many come later


def shifted(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(pixels[:, :1], 12, axis=1), pixels[:, :-12]], axis=1)


CHANGES = {
    "nothing": lambda p: p,
    "dimmed": lambda p: (p * 0.9).astype(np.uint8),
    "blurred": lambda p: np.asarray(Image.fromarray(p).filter(ImageFilter.GaussianBlur(1))),
    "shifted": shifted,
}


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A run calibrated on new parts of one class, and further parts of it that nobody has seen."""
    root = tmp_path_factory.mktemp("line")
    classes = ("disc",)
    seen = make_parts(root / "seen", classes=classes)
    run = mambaad.train(seen, root / "run", **{**SMALL, "size": "32", "epochs": 1})
    # make_parts draws the same parts in the same order: what is to be new comes after these.
    drawn = make_parts(root / "drawn", train=6 + 2 * PARTS, classes=classes)
    good = drawn / "disc" / "train" / "good"
    paths = sorted(good.iterdir())[6:]
    later = root / "later"
    later.mkdir()
    for path in paths[PARTS:]:
        shutil.move(path, later)
    for path in sorted(good.iterdir())[:6]:
        path.unlink()
    calibrate(run, drawn, new_parts=True)
    return run, sorted(later.iterdir())


@pytest.mark.parametrize("name", CHANGES)
def test_images_that_changed_raise_an_alarm_and_others_do_not(line, tmp_path, name):
    run, later = line
    inspector = mambaad.Inspector(run)
    lines = []
    for number, path in enumerate(later):
        pixels = read_image(path)
        changed = pixels if number < PARTS // 2 else CHANGES[name](pixels)
        prediction = inspector.inspect(changed, "disc")
        record = record_of(path, prediction, product_given=True, model=inspector.weights)
        lines.append(record.model_dump_json() + "\n")
    log = tmp_path / "predictions.jsonl"
    write_text(log, "".join(lines))
    report = monitor([log], run)
    alarms = [w.alarm for w in report.classes["disc"].values() if w.alarm is not None]
    if name == "nothing":
        assert not alarms
        assert not report.few_passed
    else:
        # Either the figures of passed parts tell, or most parts do not pass any more.
        assert alarms or report.few_passed
        assert all(alarm > PARTS // 2 for alarm in alarms)  # never before the change
