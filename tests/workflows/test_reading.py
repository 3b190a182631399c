"""What pixels mean is part of a run: the same in training, prediction, evaluation, calibration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.artifacts.manifest import CONFIG
from mambaad.artifacts.run_folder import read_config
from mambaad.data.images import read_image
from mambaad.errors import ConfigError, DataError
from mambaad.types import Reading
from mambaad.workflows.suspects import find_suspects
from tests.conftest import SMALL, make_parts
from tests.runs import change_json, read

FACTOR = 16  # of a camera of 12 bits: of 8 bits, 255 x 16 is 4080


def deepened(root: Path, kind: str = "12 bits") -> Path:
    """Store all images, not the masks, as grey of 12 bits in 16, or as floats of 0 to 1."""
    for path in root.glob("*/t*/*/*.png"):
        grey = np.asarray(Image.open(path).convert("L"))
        path.unlink()
        if kind == "12 bits":
            Image.fromarray(grey.astype(np.uint16) * FACTOR).save(path)
        else:
            Image.fromarray(grey.astype(np.float32) / 255).save(path.with_suffix(".tif"))
    return root


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deepened(make_parts(tmp_path_factory.mktemp("deep") / "parts"))


@pytest.fixture(scope="module")
def deep_run(deep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "deep"
    mambaad.train(deep, run, **{**SMALL, "epochs": 1}, holdout=0.4)
    mambaad.calibrate(run, deep, target_fpr=0.3, review_fpr=0.4)
    return run


def as_pixels(path: Path) -> np.ndarray:
    """The formula: 4095 is white."""
    grey = np.rint(np.asarray(Image.open(path)).astype(float) / 4095 * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_the_run_keeps_the_depth_that_was_decided(deep_run: Path) -> None:
    assert read(read_config, deep_run).bit_depth == 12
    assert json.loads((deep_run / CONFIG).read_text())["bit_depth"] == 12


@pytest.mark.parametrize("is_bundle", [False, True])
def test_files_are_inspected_as_they_were_trained_on(
    deep: Path, deep_run: Path, tmp_path: Path, is_bundle: bool
) -> None:
    source = deep_run
    if is_bundle:
        source = tmp_path / "a.mambaad"
        mambaad.bundle(deep_run, source)
    inspector = mambaad.Inspector(source)
    path = deep / "nut" / "test" / "spot" / "001.png"
    expected = inspector.inspect(as_pixels(path), "nut")
    found = inspector.inspect(path, "nut")
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    (many,) = inspector.inspect_many([path], "nut")
    np.testing.assert_array_equal(many.anomaly_map, expected.anomaly_map)
    (record,) = mambaad.predict(inspector, [path], tmp_path / "out", product="nut")
    assert record.score == pytest.approx(expected.score)
    evaluation = mambaad.evaluate(inspector, deep, verdicts=True)
    scores = [score for score, bad in evaluation.scores["nut"] if bad]
    map_of_all = [inspector.inspect(as_pixels(p), "nut") for p in sorted(path.parent.iterdir())]
    assert scores == pytest.approx([float(p.anomaly_map.max()) for p in map_of_all], abs=1e-6)
    # A good part's quality is as when it was calibrated: it is neither dark nor of another size.
    assert found.verdict is not mambaad.Verdict.BAD_IMAGE


def test_values_that_the_depth_does_not_have_give_an_error(
    deep_run: Path, deep: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bright.png"
    Image.fromarray(np.full((80, 72), 9000, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"up to 9000, expected at most 4095 \(--bit-depth 12\)"):
        mambaad.Inspector(deep_run).inspect(path)
    good = deep / "nut" / "test" / "good" / "000.png"
    records = mambaad.predict(deep_run, [path, good], tmp_path / "out")
    assert [bool(record.error) for record in records].count(True) == 1


def test_a_run_of_8_bit_images_does_not_guess(trained_run: Path, tmp_path: Path) -> None:
    assert read(read_config, trained_run).bit_depth == "auto"
    inspector = mambaad.Inspector(trained_run)
    path = tmp_path / "a.png"
    grey = np.random.default_rng(0).integers(0, 4096, (80, 72)).astype(np.uint16)
    Image.fromarray(grey).save(path)
    with pytest.raises(DataError, match="how many bits are in use cannot be known"):
        inspector.inspect(path)
    Image.fromarray(grey * 16).save(path)  # it uses the 16 bits
    inspector.inspect(path)


def test_a_run_made_before_the_setting_reads_16_bits_as_then(
    trained_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    new = ("bit_depth", "float_range", "max_pixels")
    change_json(run, CONFIG, lambda c: {name: v for name, v in c.items() if name not in new})
    inspector = mambaad.Inspector(run)
    assert inspector.reading == Reading(16)
    path = tmp_path / "a.png"
    Image.fromarray(np.full((80, 72), 4000, np.uint16)).save(path)
    assert inspector.inspect(path).verdict is None
    assert read_image(path, inspector.reading).max() == round(4000 / 257)


def test_resuming_keeps_what_was_decided(deep: Path, deep_run: Path) -> None:
    mambaad.train(deep, deep_run, resume=True, bit_depth="auto")
    with pytest.raises(ConfigError, match=r"--bit-depth: .* was started with 12"):
        mambaad.train(deep, deep_run, resume=True, bit_depth=14)


def test_floats_need_a_range_and_keep_it(tmp_path: Path) -> None:
    root = deepened(make_parts(tmp_path / "parts", classes=("nut",)), "floats")
    with pytest.raises(DataError, match="--float-range"):
        mambaad.train(root, tmp_path / "none", **SMALL)
    assert not (tmp_path / "none").exists()
    run = mambaad.train(root, tmp_path / "run", **{**SMALL, "epochs": 1}, float_range="0,1")
    assert read(read_config, run).reading == Reading(None, (0.0, 1.0))
    inspector = mambaad.Inspector(run)
    path = root / "nut" / "test" / "spot" / "000.tif"
    grey = np.rint(np.asarray(Image.open(path)) * 255).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    found, expected = inspector.inspect(path), inspector.inspect(pixels)
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)


def test_suspects_are_found_in_deep_images_too(deep: Path) -> None:
    scored = find_suspects(deep, size=64)
    assert all(len(c.samples) == 6 for c in scored)
    with pytest.raises(DataError, match=r"expected at most 1023 \(--bit-depth 10\)"):
        find_suspects(deep, size=64, bit_depth=10)


def test_how_many_pixels_may_be_read_is_of_the_run_or_given(
    trained_run: Path, parts: Path, tmp_path: Path
) -> None:
    path = parts / "nut" / "test" / "good" / "000.png"
    (record,) = mambaad.predict(trained_run, [path], tmp_path / "out", max_pixels=100)
    assert "80 x 72 = 5760 pixels" in (record.error or "")
    with pytest.raises(DataError, match="--max-pixels 5760"):
        mambaad.evaluate(trained_run, parts, max_pixels=100)
    with pytest.raises(DataError, match="--max-pixels 5760"):
        mambaad.train(parts, tmp_path / "run", **SMALL, max_pixels=100)
    run = mambaad.train(parts, tmp_path / "run", **{**SMALL, "epochs": 1}, max_pixels=5760)
    assert mambaad.Inspector(run).reading.max_pixels == 5760


def test_a_class_of_deep_images_brings_its_depth_to_a_run_without_one(
    trained_run: Path, parts: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    new = deepened(make_parts(tmp_path / "more", classes=("ring",))) / "ring"
    found = mambaad.extend(run, new, parts, epochs=1, max_drop=1)
    assert read(read_config, found.run).bit_depth == 12
    mambaad.Inspector(found.run).inspect(new / "test" / "good" / "000.png")
