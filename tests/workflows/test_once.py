"""Each image is decoded once, observed once, and each model loaded once in a command."""

import shutil
from collections import Counter

import pytest

import mambaad
from mambaad.data import decoding
from mambaad.inference.torch_engine import TorchEngine
from mambaad.models.system import System


class Counts:
    """How often each file was decoded; how many images were observed, and models loaded."""

    def __init__(self):
        self.decoded, self.observed, self.loaded = Counter(), 0, 0


@pytest.fixture
def counts(monkeypatch):
    counts = Counts()
    decode, observe, load = decoding.decode_bytes, TorchEngine.observe, System.load_state_dict

    def counting(content, path, max_pixels):
        counts.decoded[path] += 1
        return decode(content, path, max_pixels)

    def observing(engine, batch):
        counts.observed += len(batch)
        return observe(engine, batch)

    def loading(system, *args, **kwargs):
        counts.loaded += 1
        return load(system, *args, **kwargs)

    monkeypatch.setattr(decoding, "decode_bytes", counting)
    monkeypatch.setattr(TorchEngine, "observe", observing)
    monkeypatch.setattr(System, "load_state_dict", loading)
    return counts


def each_once(folder, *patterns):
    return {path: 1 for pattern in patterns for path in folder.glob(pattern)}


def test_predict_with_a_page(counts, calibrated_run, many_parts, tmp_path):
    folder = many_parts / "nut" / "test"
    mambaad.predict(calibrated_run, [folder], tmp_path / "out", report=tmp_path / "page")
    assert counts.decoded == each_once(folder, "*/*.png")
    assert (counts.observed, counts.loaded) == (6, 1)


def test_evaluate_with_verdicts_and_a_page(
    counts, calibrated_run, many_parts, tmp_path, monkeypatch
):
    # The good parts that explanations show beside flagged ones are images of their own.
    monkeypatch.setattr("mambaad.report.inspection_page.MOST_EXPLAINED", 0)
    mambaad.evaluate(calibrated_run, many_parts, verdicts=True, report=tmp_path / "page")
    assert counts.decoded == each_once(many_parts, "*/test/*/*.png", "*/ground_truth/*/*.png")
    assert (counts.observed, counts.loaded) == (12, 1)


def test_calibrate(counts, calibrated_run, many_parts, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    mambaad.calibrate(run, many_parts)
    assert len(counts.decoded) == 30  # half of the good parts, held out, and no other image
    assert counts.decoded.items() <= each_once(many_parts, "*/train/good/*.png").items()
    assert (counts.observed, counts.loaded) == (30, 1)


def test_an_inspector_serves_several_commands(counts, trained_run, parts, tmp_path):
    inspector = mambaad.Inspector(trained_run)
    mambaad.evaluate(inspector, parts)
    mambaad.predict(inspector, [parts / "nut" / "test"], tmp_path / "out")
    assert counts.loaded == 1
