import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.manifest import PROTOTYPES, WEIGHTS
from mambaad.artifacts.run_folder import read_config, read_data_summary, read_log
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.data.splits import hold_out
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.files import locked
from mambaad.inference.weights import as_torch
from mambaad.metrics.names import METRICS
from mambaad.workflows import extend as module
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.evaluate import evaluate
from mambaad.workflows.extend import extend
from mambaad.workflows.train import Interrupted
from tests.conftest import SMALL, make_parts
from tests.killing import kill_at_every_change
from tests.runs import change, change_tensors, content, plain_names, read, tensors

pytestmark = pytest.mark.usefixtures("users_checks_only")


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """Three products; the last one is not in the data set ``old``."""
    root = tmp_path_factory.mktemp("factory")
    make_parts(root / "all", classes=("bolt", "nut", "clip"))
    make_parts(root / "old")
    return root


@pytest.fixture(scope="module")
def extended(factory, tmp_path_factory):
    """Extend a run, once for all tests; the outcome, and the folder that holds both runs."""
    folder = tmp_path_factory.mktemp("runs")
    mambaad.train(factory / "old", folder / "run", **SMALL)
    return extend(folder / "run", factory / "all" / "clip", factory / "old", max_drop=1), folder


@pytest.fixture
def run(extended, tmp_path):
    """Copy the run before it was extended."""
    return shutil.copytree(extended[0].former, tmp_path / "run")


@pytest.fixture
def work(extended, run):
    """Copy the extended run to where it stands beside :func:`run` before it is accepted.

    With it, :func:`extend` has nothing left to train.
    """
    return shutil.copytree(extended[0].run, run.with_name("run.extended-clip"))


def end_at_once():
    raise SystemExit


def weights(run):
    return as_torch(tensors(run)[0])


def everything(run):
    """The digests of all files."""
    return {name: run.digest(name) for name in run.names()}


def take(folder):
    with locked(folder):
        pass


def test_the_extended_run_knows_all_products_and_takes_the_place_of_the_former(extended, factory):
    found, folder = extended
    assert found.is_accepted
    assert found.run == folder / "run"
    assert {path.name for path in folder.iterdir()} == {"run", "run.before-clip"}
    inspector = mambaad.Inspector(found.run)
    assert inspector.products == ("bolt", "clip", "nut")
    assert inspector.is_finished
    image = factory / "all" / "clip" / "test" / "good" / "000.png"
    assert inspector.inspect(image).product == "clip"
    assert mambaad.Inspector(found.former).products == ("bolt", "nut")
    # The encoder is the same, the rest has moved on.
    before, after = weights(found.former), weights(found.run)
    for name, tensor in before.items():
        if name.startswith("encoder."):
            assert torch.equal(after[name], tensor), name
    assert any(not torch.equal(after[name], t) for name, t in before.items())


def test_it_is_the_run_of_a_data_set_with_all_classes(extended, factory, tmp_path, at_step):
    found, _ = extended
    whole = tmp_path / "whole"
    with at_step(1, end_at_once), pytest.raises(SystemExit):  # its settings and data are written
        mambaad.train(factory / "all", whole, **SMALL)
    ours, theirs = read(read_data_summary, found.run), read(read_data_summary, whole)
    assert ours.pop("extension")["product"] == "clip"
    assert ours == theirs
    assert read(read_config, found.run) == read(read_config, whole)


def test_figures_are_those_of_evaluation(extended, factory):
    found, _ = extended
    before = evaluate(found.former, factory / "old").classes
    after = evaluate(found.run, factory / "all").classes
    assert found.metrics == after["clip"]
    changes = {(c.product, c.metric): (c.before, c.after) for c in found.changes}
    assert changes == {
        (name, metric): (before[name][metric], after[name][metric])
        for name in ("bolt", "nut")
        for metric in METRICS
    }
    heading, *rows = found.to_rows()
    assert [row[0] for row in rows] == ["bolt", "nut", "clip"]
    assert len({len(row) for row in (heading, *rows)}) == 1


def test_a_run_that_forgot_is_not_replaced_and_may_be_accepted_later(run, work, factory, capsys):
    before = content(run)
    trained, about = tensors(work)
    # A decoder of zeros is as good as chance, on every product.
    forgotten = {n: t if n.startswith("encoder.") else t * 0 for n, t in trained.items()}
    change_tensors(work, WEIGHTS, forgotten, about)
    arguments = (run, factory / "all" / "clip", factory / "old")
    found = extend(*arguments, max_drop=0.0)
    assert not found.is_accepted
    assert max(c.drop for c in found.too_large) > 0
    assert content(run) == before
    assert found.run == work
    assert not found.former.exists()
    capsys.readouterr()
    later = extend(*arguments, max_drop=1)
    assert "epoch" not in capsys.readouterr().err  # nothing was trained again
    assert later.is_accepted
    assert later.changes == found.changes


def test_interrupted_and_resumed_is_the_same(extended, run, factory, at_step):
    found, _ = extended
    arguments = (run, factory / "all" / "clip", factory / "old")
    interrupted = pytest.raises(Interrupted, match="run the same command again to resume in")
    with at_step(6, lambda: signal.raise_signal(signal.SIGINT)), interrupted:  # in the second epoch
        extend(*arguments, max_drop=1)
    with pytest.raises(RunError, match="was started with other images or settings"):
        extend(*arguments, max_drop=1, replay=0.5)
    again = extend(*arguments, max_drop=1)
    ours, theirs = weights(again.run), weights(found.run)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_a_run_that_another_process_writes_is_left_alone(run, factory):
    before = sorted(run.parent.rglob("*"))
    with locked(run), ThreadPoolExecutor(1) as pool:
        second = pool.submit(extend, run, factory / "all" / "clip", factory / "old", max_drop=1)
        with pytest.raises(RunError, match="run is being written by another mambaad process"):
            second.result()
    assert sorted(run.parent.rglob("*")) == before


_STEP = """
with opened(run) as found:
    found.verify()
    is_new = read_prototypes(found).products == ("bolt", "clip", "nut")
module._remove_accepted(run, work)
if not is_new:
    with locked(run), locked(work):
        module._replace(run, work, former)
"""
_SETUP = f"""
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.snapshot import opened
from mambaad.files import locked
from mambaad.workflows import extend as module
run, work, former = (place / name for name in ("run", "run.extended-clip", "run.before-clip"))
part = compile({_STEP!r}, "part", "exec")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills as other systems do")
def test_killed_while_it_replaces_the_run_is_the_old_one_or_the_new(extended, run, work):
    (run / "cross_fit" / "1_of_2").mkdir(parents=True)  # of an interrupted calibration
    before, after = read(everything, run), read(everything, work)
    assert kill_at_every_change("exec(part)", run.parent, setup=_SETUP, step=4) > 10
    assert {path.name for path in run.parent.iterdir()} == {"run", "run.before-clip"}
    assert read(everything, run) == after
    assert read(everything, run.with_name("run.before-clip")) == before
    assert plain_names(run) == {"manifest.json", *after}


def test_what_a_kill_left_is_taken_or_removed(extended, run, work, factory):
    found, _ = extended
    copies = run.parent / "copies"
    shutil.copytree(run, copies / "run.before-clip")
    shutil.copytree(work, copies / "run.extended-clip")
    shutil.copytree(run, copies / "run")
    arguments = (factory / "all" / "clip", factory / "old")
    assert extend(copies / "run", *arguments, max_drop=1).changes == found.changes
    assert {path.name for path in copies.iterdir()} == {"run", "run.before-clip"}
    shutil.copytree(work, copies / "run.extended-clip")
    with pytest.raises(ConfigError, match="has a product 'clip' already"):
        extend(copies / "run", *arguments, max_drop=1)
    assert {path.name for path in copies.iterdir()} == {"run", "run.before-clip"}


def test_the_extended_run_is_locked_while_it_is_trained(run, factory, at_step):
    def lock():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(take, run.with_name("run.extended-clip")).result()

    written = pytest.raises(RunError, match=r"run\.extended-clip is being written by another")
    with at_step(1, lock), written:
        extend(run, factory / "all" / "clip", factory / "old", max_drop=1)


def test_a_kill_while_the_folder_is_made_loses_nothing(run, factory, at_step):
    work = run.with_name("run.extended-clip")
    work.mkdir()
    (work / ".0123.mambaad-tmp").write_bytes(b"half a file")
    with at_step(1, end_at_once), pytest.raises(SystemExit):  # training has started
        extend(run, factory / "all" / "clip", factory / "old", max_drop=1)
    assert (work / "config.json").is_file()
    assert not list(work.glob("*.mambaad-tmp"))


def test_what_cannot_be_put_in_place_leaves_the_run(run, work, factory, monkeypatch):
    real = Path.replace

    def refused(path, target):
        if target == run / "manifest.json":
            raise OSError(28, "No space left on device")
        return real(path, target)

    before = read(everything, run)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refused)
        with pytest.raises(RunError, match=r"manifest.json cannot be written \(No space"):
            extend(run, factory / "all" / "clip", factory / "old", max_drop=1)
    assert read(everything, run) == before
    assert {path.name for path in run.parent.iterdir()} == {"run", "run.extended-clip"}


def test_replay_shows_a_share_of_the_old_parts_and_all_of_the_new(many_parts):
    classes = MVTEC.read(many_parts)
    some = module._replayed(classes, "nut", 0.25, seed=1)
    assert {c.name: len(c.train) for c in some} == {"bolt": 8, "nut": 30}
    assert some == module._replayed(classes, "nut", 0.25, seed=1)
    assert some != module._replayed(classes, "nut", 0.25, seed=2)


def test_what_was_held_out_for_calibration_is_held_out_again(calibrated_run, many_parts, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    old = shutil.copytree(many_parts, tmp_path / "old")
    new = make_parts(tmp_path / "new", train=8, classes=("bolt", "clip")) / "clip"
    for product in (old / "bolt", old / "nut", new):  # nothing to evaluate
        shutil.rmtree(product / "test")
        shutil.rmtree(product / "ground_truth")
    extend(run, new, old, max_drop=1, epochs=1)
    assert len(read(read_log, run)) == read(read_data_summary, run)["extension"]["epochs"] == 1
    counts = read(read_data_summary, run)["classes"]
    assert {name: (c["train"], c["holdout"]) for name, c in counts.items()} == {
        "bolt": (15, 15),
        "clip": (4, 4),
        "nut": (15, 15),
    }
    assert mambaad.Inspector(run).calibration is None  # it was that of other weights
    shutil.copytree(new, old / "clip")
    calibration = calibrate(run, old)
    _, out = hold_out(MVTEC.read(old), share=0.5, seed=42)
    inspector = mambaad.Inspector(run)
    for c in out:
        scores = [inspector.inspect(s.path, c.name).score for s in c.train]
        np.testing.assert_array_equal(np.sort(calibration.classes[c.name].scores), np.sort(scores))


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"epochs": 0}, ConfigError, "--epochs: expected 1 to 1000000, got 0"),
        ({"replay": 0.0}, ConfigError, "--replay: expected a share above 0 and up to 1, got 0"),
        ({"max_drop": -0.1}, ConfigError, "--max-drop: expected 0 to 1, got -0.1"),
        ({"new": "bolt"}, ConfigError, "has a product 'bolt' already"),
        ({"new": "absent"}, DataError, "has no folder train/good"),
        ({"old": "all/nut"}, DataError, "nut"),
    ],
)
def test_wrong_arguments_change_nothing(run, factory, settings, error, complaint):
    new = factory / "all" / settings.pop("new", "clip")
    old = factory / settings.pop("old", "old")
    before = sorted(run.parent.iterdir())
    with pytest.raises(error, match=complaint):
        extend(run, new, old, **settings)
    assert sorted(run.parent.iterdir()) == before


def test_other_old_parts_and_unfinished_runs_are_refused(run, factory, tmp_path):
    other = make_parts(tmp_path / "other", train=5)
    with pytest.raises(DataError, match="does not hold the parts that"):
        extend(run, factory / "all" / "clip", other)
    run.with_name("run.before-clip").mkdir()
    with pytest.raises(RunError, match=r"before-clip exists"):
        extend(run, factory / "all" / "clip", factory / "old")
    change(run, {}, [PROTOTYPES])
    with pytest.raises(RunError, match="training has not ended"):
        extend(run, factory / "all" / "clip", factory / "old")


def test_old_products_without_test_images(run, work, factory, tmp_path):
    new, old = factory / "all" / "clip", shutil.copytree(factory / "old", tmp_path / "old")
    shutil.rmtree(old / "nut" / "test" / "spot")
    shutil.rmtree(old / "nut" / "ground_truth")
    one = tmp_path / "one"
    for folder in (run, work):
        shutil.copytree(folder, one / folder.name)
    found = extend(one / "run", new, old, max_drop=1)
    assert {c.product for c in found.changes} == {"bolt"}
    assert found.untested == ("nut",)
    shutil.rmtree(old / "bolt" / "test")
    shutil.rmtree(old / "bolt" / "ground_truth")
    with pytest.raises(DataError, match="give --max-drop 1"):
        extend(run, new, old)
    found = extend(run, new, old, max_drop=1)
    assert found.is_accepted
    assert not found.changes
    assert found.untested == ("bolt", "nut")
