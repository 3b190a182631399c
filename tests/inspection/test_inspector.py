import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.artifacts.manifest import CALIBRATION, CONFIG, WEIGHTS
from mambaad.artifacts.run_folder import read_config
from mambaad.data.images import resize_image
from mambaad.errors import ConfigError, DataError, RunError
from mambaad.inference.weights import as_numpy
from mambaad.models.build import build_system
from mambaad.workflows.calibrate import calibrate
from tests.runs import change_json, change_tensors, content, digest, read, tensors


@pytest.fixture(scope="module")
def inspector(trained_run):
    return mambaad.Inspector(trained_run)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_file_and_its_pixels_give_the_same(inspector, parts):
    path = parts / "nut" / "test" / "spot" / "000.png"
    by_path, by_text = inspector.inspect(path), inspector.inspect(str(path))
    by_pixels = inspector.inspect(pixels_of(path))
    assert by_path.score == by_text.score == by_pixels.score
    assert np.array_equal(by_path.anomaly_map, by_pixels.anomaly_map)
    assert by_path.anomaly_map.shape == inspector.size == (64, 64)
    assert by_path.anomaly_map.dtype == np.float32
    assert by_path.score == pytest.approx(by_path.anomaly_map.max())


def test_the_product_is_recognised_or_as_given(inspector, parts):
    for name in ("bolt", "nut"):
        for path in sorted((parts / name / "test" / "good").iterdir()):
            assert inspector.inspect(path).product == name
    path = parts / "nut" / "test" / "good" / "000.png"
    assert inspector.inspect(path, product="bolt").product == "bolt"
    with pytest.raises(ConfigError, match="choose from bolt, nut"):
        inspector.inspect(path, product="washer")


def test_heatmaps_of_good_parts_are_dark(inspector, parts):
    low, high = inspector.heatmap_range
    for path in sorted((parts / "nut" / "train" / "good").iterdir()):
        level = (inspector.inspect(path).anomaly_map - low) / (high - low)
        assert np.quantile(level, 0.99) < 0.5


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
@pytest.mark.usefixtures("users_checks_only")
def test_an_item_of_other_pixels_is_refused(inspector, image):
    with pytest.raises(ConfigError, match="expected height x width x 3 of uint8"):
        next(inspector.inspect_items([inspector.item(image)]))


def test_what_is_no_image_or_no_run(inspector, tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        inspector.inspect(tmp_path / "absent.png")
    with pytest.raises(RunError, match="is not a run folder"):
        mambaad.Inspector(tmp_path)


def test_a_model_whose_values_are_not_finite_gives_no_verdict(calibrated_run, many_parts, tmp_path):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    before = content(run, CALIBRATION)
    weights, _ = tensors(run)
    name = next(n for n, w in weights.items() if "decoder" in n and w.dtype.kind == "f")
    change_tensors(run, WEIGHTS, {**weights, name: np.full_like(weights[name], 3e38)})
    image = next((many_parts / "nut" / "test" / "good").iterdir())
    with pytest.raises(
        RunError, match="values that are not finite, expected numbers; train again,"
    ):
        mambaad.Inspector(run).inspect(image)
    with pytest.raises(RunError, match="values that are not finite"):
        calibrate(run, many_parts)
    assert content(run, CALIBRATION) == before


def test_a_batch_a_stream_and_single_images_are_the_same_to_the_bit(inspector, parts):
    paths = sorted((parts / "nut" / "test").glob("*/*.png"))
    single = [inspector.inspect(path) for path in paths]
    streamed = list(inspector.inspect_many(paths))
    resized = [resize_image(pixels_of(path), inspector.size) for path in paths]
    batch = inspector.engine.observe(np.stack(resized))
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(inspector.inspect, paths))
    for ours, *others in zip(single, streamed, batch, threaded, strict=True):
        for other in others:
            assert other.score == ours.score
            assert np.array_equal(other.anomaly_map, ours.anomaly_map)


def test_a_former_calibration_holds_unless_a_head_counted_in_its_scores(
    calibrated_run, tmp_path, many_parts, capsys
):
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    calibration, about = tensors(run, CALIBRATION)
    change_tensors(run, CALIBRATION, calibration, {**about, "format": 1})
    image = next((many_parts / "nut" / "test" / "good").iterdir())
    ours, theirs = (mambaad.Inspector(r).inspect(image) for r in (run, calibrated_run))
    assert (ours.verdict, ours.score) == (theirs.verdict, theirs.score)

    change_json(run, CONFIG, lambda config: {**config, "head": "residual"})
    model = build_system(read(read_config, run), "random")
    weights, _ = tensors(run)
    change_tensors(run, WEIGHTS, {**as_numpy(model.state_dict()), **weights})
    about |= {"format": 1, "weights": digest(run)}
    change_tensors(run, CALIBRATION, calibration, about)
    assert mambaad.Inspector(run).inspect(image).verdict is None
    assert "when the residual head still counted in the score" in capsys.readouterr().err
    change_tensors(run, CALIBRATION, calibration, {**about, "format": 2})
    assert mambaad.Inspector(run).inspect(image).verdict is not None
