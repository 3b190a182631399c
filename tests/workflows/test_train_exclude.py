"""Images left out by name: the same set in training, resuming, calibration and extension."""

import shutil
import signal

import pytest

import mambaad
from mambaad.artifacts.run_folder import read_config, read_data_summary
from mambaad.cli.models import run_summary
from mambaad.errors import ConfigError, DataError
from mambaad.inference.explain import ReferenceParts
from mambaad.inspection.calibration import read_calibration
from mambaad.report.inspection_page import InspectionPage
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.extend import extend
from mambaad.workflows.train import Interrupted
from tests.conftest import SMALL, make_parts
from tests.runs import content, read

SETTINGS = {**SMALL, "size": "32", "epochs": 2}
NAMES = ("bolt/train/good/002.png", "nut/train/good/000.png", "nut/train/good/005.png")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "suspects.txt"
    path.write_text("# two of a kind\n" + "\n".join(reversed(NAMES)) + "\n")
    return path


@pytest.fixture(scope="module")
def run(parts, listed, tmp_path_factory):
    """A run without three of the twelve images."""
    return mambaad.train(parts, tmp_path_factory.mktemp("runs") / "run", **SETTINGS, exclude=listed)


def weights(run):
    return content(run)


def test_the_weights_are_those_of_a_data_set_without_the_images(run, parts, tmp_path):
    data = shutil.copytree(parts, tmp_path / "data")
    for name in NAMES:
        (data / name).unlink()
    other = mambaad.train(data, tmp_path / "other", **SETTINGS)
    assert weights(run) == weights(other)
    ours, theirs = read(read_data_summary, run), read(read_data_summary, other)
    assert ours.pop("excluded") == 3
    assert ours == theirs
    assert read(read_config, run).exclude == NAMES
    summary = read(run_summary, run)
    assert "3 training images" in next(row for row in summary.splitlines() if "exclude" in row)
    assert "none" in next(row for row in read(run_summary, other).splitlines() if "exclude" in row)


def test_a_resumed_run_leaves_out_the_same(run, parts, tmp_path, at_step):
    cut = tmp_path / "cut"
    with at_step(3, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(parts, cut, **SETTINGS, exclude=[parts / name for name in NAMES])
    with pytest.raises(ConfigError, match=r"--exclude: .* was started with \('bolt/train/good/002"):
        mambaad.train(parts, cut, resume=True, exclude=NAMES[:1])
    mambaad.train(parts, cut, resume=True, exclude=(*NAMES[::-1], NAMES[0]))  # the same set
    assert weights(cut) == weights(run)


def test_a_long_list_is_not_repeated_in_an_error(many_parts, tmp_path, at_step):
    names = [f"nut/train/good/{i:03}.png" for i in range(20)]
    with at_step(1, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(many_parts, tmp_path / "run", **SETTINGS, exclude=names)
    with pytest.raises(ConfigError, match=r"started with nut/train/good/000\.png and 19 others;"):
        mambaad.train(many_parts, tmp_path / "run", resume=True, exclude=names[1:])


def test_a_list_of_comments_leaves_out_nothing(parts, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("mambaad.workflows.train.train_run", lambda *args, **_: seen.append(args))
    (tmp_path / "list.txt").write_text("# all of them are good\n\n")
    mambaad.train(parts, tmp_path / "run", exclude=tmp_path / "list.txt")
    assert seen[0][2].exclude is None


@pytest.mark.parametrize(
    ("exclude", "error", "complaint"),
    [
        (["nut/train/good/9.png"], ConfigError, "nut/train/good/9.png is not a training image of"),
        (["nut/test/spot/000.png"], ConfigError, "nut/test/spot/000.png is not a training image"),
        ([f"nut/train/good/00{i}.png" for i in range(6)], DataError, "leaves 0 of the 6 training"),
        ("none.txt", ConfigError, "--exclude: none.txt cannot be read"),
    ],
)
def test_what_cannot_be_left_out_is_one_line_and_nothing_is_trained(
    parts, tmp_path, exclude, error, complaint
):
    with pytest.raises(error) as caught:
        mambaad.train(parts, tmp_path / "run", **SETTINGS, exclude=exclude)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_cross_fitting_scores_and_trains_without_them(run, parts, tmp_path, monkeypatch):
    seen = []
    from mambaad.workflows import train as module

    real = module.train_run

    def train_run(data, out, config, **kwargs):
        seen.append(config.exclude)
        return real(data, out, config, **kwargs)

    monkeypatch.setattr(module, "train_run", train_run)
    run = shutil.copytree(run, tmp_path / "run")
    calibrate(run, parts, cross_fit=2, target_fpr=0.3, review_fpr=0.4)
    calibration = read(read_calibration, run, (32, 32))
    assert {name: len(c.scores) for name, c in calibration.classes.items()} == {"bolt": 5, "nut": 4}
    assert seen == [NAMES, NAMES]


def test_a_run_is_extended_without_them(run, parts, tmp_path):
    run = shutil.copytree(run, tmp_path / "run")
    new = make_parts(tmp_path / "new", classes=("bolt", "clip")) / "clip"
    found = extend(run, new, parts, epochs=1, max_drop=1)
    summary = read(read_data_summary, found.run)
    assert {name: c["train"] for name, c in summary["classes"].items()} == {
        "bolt": 5,
        "clip": 6,
        "nut": 4,
    }
    assert summary["excluded"] == 3
    assert read(read_config, found.run).exclude == NAMES


def test_a_flagged_part_is_not_compared_with_them(run, parts, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(ReferenceParts, "__init__", lambda self, *args: seen.update(args[2]))
    InspectionPage(tmp_path / "page", mambaad.Inspector(run, keep_trained=True), parts)
    assert {name: len(samples) for name, samples in seen.items()} == {"bolt": 5, "nut": 4}


def test_trimming_changes_what_is_learned(parts, tmp_path):
    settings = {**SETTINGS, "epochs": 1, "recipe": "fast", "head": "off"}
    runs = [mambaad.train(parts, tmp_path / str(t), **settings, trim=t) for t in (0.0, 0.2)]
    assert weights(runs[0]) != weights(runs[1])
    assert read(read_config, runs[1]).trim == 0.2
