import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mambaad.errors import RunError
from mambaad.files import LOCK, locked
from mambaad.workflows import demo as demo_module
from mambaad.workflows.demo import QUICK, DemoSettings, demo
from tests.runs import stored

TINY = DemoSettings(QUICK.classes[:2], train=4, test=6, size=64, epochs=1, head_steps=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole demo, smaller than any that is offered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "QUICK", TINY)
        out = tmp_path_factory.mktemp("demo") / "out"
        evaluation = demo(out, quick=True)
        yield out, evaluation


def test_everything_is_there(finished):
    out, evaluation = finished
    assert list(evaluation.classes) == sorted(TINY.classes)
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


def test_second_call_trains_nothing_and_finds_the_same(finished):
    out, first = finished
    weights = stored(out / "run").stat().st_mtime_ns
    assert demo(out, quick=True).classes == first.classes
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
