import re
import shutil

import pytest

from mambaad.artifacts.manifest import LOG, PROTOTYPES
from mambaad.artifacts.run_folder import read_log, records_content
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.files import locked
from mambaad.report.training_page import training_examples, write_training_page
from mambaad.types import ProductClass, Sample
from tests.runs import change, read


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "bolts <&>")


def page_of(run, *arguments):
    with locked(run):
        return write_training_page(run, *arguments).read_text(encoding="utf-8")


def test_a_training_leaves_its_page(trained_run):
    html = (trained_run / "run.html").read_text(encoding="utf-8")
    assert "Trained: 2 epochs in " in html
    assert "bolt 6, nut 6" in html
    for plot in ("Loss", "Learning rate", "Speed", "Time"):
        assert f'aria-label="{plot} by epoch"' in html
    for epoch in read(read_log, trained_run):
        assert f"<td>{epoch['loss']:.4f}</td>" in html
    assert "that the model was trained on, as none were held out" in html
    assert html.count("<article") == 6  # three of each class
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(a.startswith(("data:", "#")) for a in addresses)


def test_held_out_parts_are_shown_if_there_are_any(calibrated_run):
    html = (calibrated_run / "run.html").read_text(encoding="utf-8")
    assert "the model has not seen them" in html
    assert "30 good parts, for calibration" in html
    assert "bolt 15, nut 15" in html


def test_a_training_that_goes_on(run):
    log = read(read_log, run)[:1]
    change(run, {LOG: records_content([{**log[0], "seconds": 300.0}])}, removed=[PROTOTYPES])
    html = page_of(run)
    assert "1 of 2 epochs done in 5 min; about 5 min left." in html
    assert "reload it" in html
    assert "Training of bolts &lt;&amp;&gt;" in html


def test_before_the_first_epoch_and_with_validations(run):
    log = read(read_log, run)
    figures = {"image_auroc": 0.875, "pixel_ap": None}
    change(run, {LOG: records_content([log[0], {**log[1], "validation": figures}])})
    html = page_of(run)
    assert "I-AUROC</th>" in html
    assert "<td>87.5</td>" in html
    change(run, {LOG: records_content([])}, removed=[PROTOTYPES])
    assert "0 of 2 epochs done" in page_of(run)


def test_the_page_belongs_to_no_generation(run, parts):
    before = (run / "manifest.json").read_bytes()
    page_of(run)
    assert (run / "manifest.json").read_bytes() == before
    (run / "run.html").unlink()
    assert read(read_log, run)


def test_examples_are_spread_and_what_cannot_be_read_is_left_out(trained_run, parts, tmp_path):
    (bolt, _) = MVTEC.read(parts, split="train")
    found = training_examples(trained_run, [bolt])
    assert [example.name for example in found["bolt"]] == ["000.png", "002.png", "004.png"]
    absent = ProductClass("nut", (Sample(tmp_path / "absent.png", "nut"),))
    assert training_examples(trained_run, [absent]) == {}
    assert training_examples(trained_run, []) == {}
