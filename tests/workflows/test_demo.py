import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.errors import RunError
from mambaad.files import LOCK, locked
from mambaad.workflows import demo as demo_module
from mambaad.workflows.demo import QUICK, DemoSettings, demo
from tests.runs import stored

TINY = DemoSettings(QUICK.classes[:2], train=8, test=6, size=64, epochs=1, head_steps=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole demo, smaller than any that is offered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "QUICK", TINY)
        out = tmp_path_factory.mktemp("demo") / "out"
        yield out, demo(out, quick=True)


def test_everything_is_there(finished):
    out, found = finished
    assert list(found.evaluation.classes) == sorted(TINY.classes)
    assert (out / "report.html").stat().st_size > 20_000
    new = sorted(path.name for path in (out / "new").iterdir())
    assert len(new) == 4
    heatmaps = sorted(path.name for path in (out / "predictions").glob("*.heatmap.png"))
    assert heatmaps == [f"{name}.heatmap.png" for name in new]


def test_new_parts_are_in_neither_train_nor_test(finished):
    out, _ = finished
    seen = {
        np.asarray(Image.open(path)).tobytes()
        for path in (out / "data").rglob("*.png")
        if "ground_truth" not in path.parts
    }
    assert len(seen) > 2 * (TINY.train + TINY.test) - 1
    for path in (out / "new").iterdir():
        assert np.asarray(Image.open(path)).tobytes() not in seen


def test_the_report_counts_the_mistakes_and_shows_them(finished):
    out, found = finished
    html = (out / "report.html").read_text()
    assert found.verdicts.lead() in html
    counts = found.verdicts.given.values()
    missed, alarms = sum(c.missed for c in counts), sum(c.false_alarms for c in counts)
    shown = html[html.index("<h2>Mistakes") : html.index("<h2>New parts")]
    assert shown.count(">MISSED<") == missed
    assert shown.count(">FALSE ALARM<") == alarms
    new = html[html.index("<h2>New parts") : html.index("<h2>Examples")]
    assert re.findall(r'<p class="name">([^<]*)<', new) == sorted(
        path.name for path in (out / "new").iterdir()
    )
    assert [record.verdict.value for record in found.new] == re.findall(
        r'<span class="verdict [A-Z]+">([A-Z ]+)<', new
    )
    (link,) = re.findall(r'<a href="([^"]*)"', html)
    assert (out / link).is_file()


def test_the_calibration_is_of_parts_that_were_not_trained_on(finished):
    out, _ = finished
    calibration = mambaad.Inspector(out / "run").calibration
    assert calibration.method == "hold-out"
    assert {len(c.scores) for c in calibration.classes.values()} == {4}


def test_second_call_trains_nothing_and_finds_the_same(finished):
    out, first = finished
    weights = stored(out / "run").stat().st_mtime_ns
    assert demo(out, quick=True).evaluation.classes == first.evaluation.classes
    assert stored(out / "run").stat().st_mtime_ns == weights


def test_folder_of_other_settings_is_left_alone(finished):
    out, _ = finished
    with pytest.raises(RunError, match="other settings"):
        demo(out)


def test_other_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no demo"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_plan_is_written_down(finished):
    out, _ = finished
    assert json.loads((out / "demo.json").read_text())["epochs"] == TINY.epochs


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    with locked(tmp_path / "out", make=True), ThreadPoolExecutor(1) as pool:
        with pytest.raises(RunError, match="out is being written by another mambaad process"):
            pool.submit(demo, tmp_path / "out", quick=True).result()
        assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]
