"""Large images in tiles, from training to a bundle's verdicts."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.artifacts.snapshot import opened
from mambaad.data.images import read_image, resize_image
from mambaad.errors import ConfigError, RunError
from mambaad.inspection.inspector import Inspector
from mambaad.workflows.bundle import bundle
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.evaluate import evaluate
from mambaad.workflows.predict import predict
from mambaad.workflows.train import Interrupted
from mambaad.workflows.training_parts import trained_on, training_images
from tests.conftest import SMALL
from tests.runs import tensors
from tests.workflows.conftest import AtStep

TILED: dict[str, Any] = {
    **{name: value for name, value in SMALL.items() if name != "size"},
    "tiles": "96:32",
    "tile_views": 4,
    "epochs": 1,
    "holdout": 0.5,
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of stripes, 192 x 160 pixels, with red spots of 8 pixels; read only."""
    root = tmp_path_factory.mktemp("data") / "large"
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:192, :160]
    for folder, count in (("train/good", 8), ("test/good", 2), ("test/spot", 2)):
        for i in range(count):
            pixels = 60 + 90 * (columns // 12 % 2)[..., None] + random.normal(0, 4, (192, 160, 3))
            mask = np.hypot(rows - 150, columns - 40 - 20 * i) < 4
            if folder == "test/spot":
                pixels[mask] = (230, 20, 20)
                place = root / "belt" / "ground_truth" / "spot" / f"{i}_mask.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(place)
            path = root / "belt" / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def tiled(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on views of it, and calibrated in tiles; not to be changed."""
    run = mambaad.train(large, tmp_path_factory.mktemp("runs") / "run", **TILED)
    calibrate(run, large, target_fpr=0.3, review_fpr=0.3)
    return run


def test_a_run_sees_images_in_the_tiles_that_it_was_trained_with(
    tiled: Path, large: Path, tmp_path: Path
) -> None:
    inspector = Inspector(tiled)
    assert inspector.size == (96, 96)
    assert str(inspector.tiling) == "96:32"
    assert inspector.calibration is not None
    assert inspector.calibration.tiles == (96, 32)
    (record,) = predict(inspector, large / "belt/test/spot/0.png", tmp_path / "out")
    anomaly_map = np.load(tmp_path / "out" / "0.png.map.npy")
    assert anomaly_map.shape == (48, 40)
    assert record.verdict is not None
    assert record.score == pytest.approx(
        Inspector(tiled).inspect(large / "belt/test/spot/0.png").score
    )


def test_calibration_scores_whole_images_under_the_same_tiling(tiled: Path, large: Path) -> None:
    inspector = Inspector(tiled)
    assert inspector.calibration is not None
    scores = inspector.calibration.classes["belt"].scores
    paths = sorted((large / "belt/train/good").iterdir())
    found = [inspector.inspect(path).score for path in paths]
    assert len(scores) == 4
    assert all(np.abs(np.asarray(found) - score).min() < 1e-6 for score in scores)


def test_figures_and_verdicts_are_those_of_the_tiles(tiled: Path, large: Path) -> None:
    found = evaluate(tiled, large, verdicts=True)
    assert found.verdicts is not None
    assert found.classes["belt"]["pixel_aupro"] is not None
    inspector = Inspector(tiled)
    scores = [score for score, _ in found.scores["belt"]]
    images = sorted((large / "belt/test/good").iterdir()) + sorted(
        (large / "belt/test/spot").iterdir()
    )
    assert scores == pytest.approx([inspector.inspect(path).score for path in images])


def test_a_page_explains_a_place_of_a_large_image(tiled: Path, large: Path, tmp_path: Path) -> None:
    predict(tiled, large / "belt/test/spot", tmp_path / "out", report=tmp_path / "page", good=large)
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "No explanation is available" not in page


def test_int8_scales_are_chosen_on_tiles_too(tiled: Path, large: Path) -> None:
    with opened(tiled) as run:
        classes = trained_on(run, large)
        images = training_images(run, classes, (96, 32))
        wholes = training_images(run, classes, None)
    files = [read_image(file) for file in sorted((large / "belt/train/good").iterdir())]
    windows = {
        file[row : row + 96, column : column + 96].tobytes()
        for file in files
        for row in range(0, 97, 32)
        for column in range(0, 65, 32)
    }
    resized = {resize_image(file, (96, 96)).tobytes() for file in files}
    kinds = [(image.tobytes() in windows, image.tobytes() in resized) for image in images]
    assert set(kinds) == {(True, False), (False, True)}
    assert kinds.count((True, False)) > kinds.count((False, True))
    assert len(wholes) == 4
    assert all(image.tobytes() in resized for image in wholes)


def test_a_bundle_keeps_its_tiles_and_refuses_others(
    tiled: Path, large: Path, tmp_path: Path
) -> None:
    bundle(tiled, tmp_path / "belt.mambaad")
    path = large / "belt/test/spot/1.png"
    packed, run = Inspector(tmp_path / "belt.mambaad"), Inspector(tiled)
    assert packed.tiling == run.tiling
    assert packed.inspect(path).score == run.inspect(path).score
    with pytest.raises(RunError, match="made with 96:32, got off; omit it"):
        Inspector(tmp_path / "belt.mambaad", tiles="off")


def test_a_run_with_other_tiles_has_no_verdicts(
    tiled: Path, large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspector = Inspector(tiled, tiles="off")
    assert inspector.calibration is None
    assert "calibrated with --tiles 96:32, so there are no verdicts" in capsys.readouterr().err
    assert inspector.inspect(large / "belt/test/spot/1.png").anomaly_map.shape == (96, 96)


def test_thresholds_belong_to_the_tiles_that_calibration_was_given(
    tiled: Path, large: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiled, tmp_path / "run")
    calibration = calibrate(run, large, target_fpr=0.3, review_fpr=0.3, tiles="off")
    assert calibration.tiles is None
    assert Inspector(run).tiling is None


def test_tiles_of_another_size_are_refused(trained_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"sees images of 64 x 64 pixels.*train with --tiles 128"):
        Inspector(trained_run, tiles="128")
    with pytest.raises(ConfigError, match=r"sees images of 64 x 64 pixels.*train with --tiles 128"):
        Inspector(trained_run, tiles=128)


def test_tiles_are_trained_on_by_one_process(large: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tiles are trained on by one process, got 2"):
        mambaad.train(large, tmp_path / "run", **TILED, devices=2)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_on_tiles_ends_at_the_same_weights(
    tiled: Path, large: Path, tmp_path: Path, at_step: AtStep
) -> None:
    settings = {**TILED, "head": "off"}
    straight = mambaad.train(large, tmp_path / "straight", **settings)
    with at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT)), pytest.raises(Interrupted):
        mambaad.train(large, tmp_path / "run", **settings)
    run = mambaad.train(large, tmp_path / "run", resume=True)
    ours, theirs = tensors(run)[0], tensors(straight)[0]
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    assert json.loads((run / "config.json").read_text())["tiles"] == [96, 32]
