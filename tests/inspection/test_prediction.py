"""What a prediction says of itself, and how it is drawn, plotted and saved."""

import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mambaad
from mambaad.errors import ConfigError, RunError
from mambaad.inspection.prediction import Prediction


@pytest.fixture(scope="module")
def written(calibrated_run, many_parts, tmp_path_factory):
    """What ``predict`` writes of a part with a spot, and its path."""
    path = many_parts / "nut" / "test" / "spot" / "000.png"
    out = tmp_path_factory.mktemp("out")
    mambaad.predict(calibrated_run, path, out)
    return out, path


@pytest.fixture(scope="module")
def prediction(calibrated_run, written):
    return mambaad.Inspector(calibrated_run).inspect(written[1])


def test_a_short_repr(prediction, trained_run, written):
    assert repr(prediction) == (
        f"Prediction(score={prediction.score:.4g}, product='nut', "
        f"verdict='{prediction.verdict.value}', regions={len(prediction.regions)}, "
        "anomaly_map=64x64)"
    )
    plain = mambaad.Inspector(trained_run).inspect(written[1])
    assert repr(plain) == f"Prediction(score={plain.score:.4g}, product='nut', anomaly_map=64x64)"
    assert repr(pickle.loads(pickle.dumps(plain))) == repr(plain)


def test_to_dict_is_the_record_that_predict_writes(prediction, written):
    (line,) = (written[0] / "predictions.jsonl").read_text().splitlines()
    expected, found = json.loads(line), prediction.to_dict()
    assert found.pop("time") >= expected.pop("time")
    assert list(found) == list(expected)
    assert found == expected
    assert found["path"] == written[1].as_posix()
    found["regions"].clear()
    assert prediction.to_dict()["regions"] == expected["regions"]


def test_the_record_of_pixels_has_no_path(calibrated_run):
    pixels = np.zeros((80, 72, 3), np.uint8)
    found = mambaad.Inspector(calibrated_run).inspect(pixels, "nut").to_dict()
    assert (found["path"], found["product_given"]) == ("", True)
    assert found["schema_version"] == 1


def test_what_is_saved_is_what_predict_writes(prediction, written, tmp_path):
    folder, name = written[0], written[1].name
    assert prediction.save(tmp_path / "a.png") == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes() == (folder / f"{name}.heatmap.png").read_bytes()
    prediction.save(str(tmp_path / "a.npy"))
    assert (tmp_path / "a.npy").read_bytes() == (folder / f"{name}.map.npy").read_bytes()
    for suffix in ("tiff", "tif"):
        prediction.save(tmp_path / f"a.{suffix}")
        saved = np.asarray(Image.open(tmp_path / f"a.{suffix}"))
        assert saved.dtype == np.float32
        assert np.array_equal(saved, prediction.anomaly_map)
    prediction.save(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == prediction.to_dict()
    prediction.save(tmp_path / "a.JPG")
    saved = np.asarray(Image.open(tmp_path / "a.JPG")).astype(int)
    assert np.abs(saved - prediction.draw()).mean() < 8
    assert len(list(tmp_path.iterdir())) == 6  # nothing unfinished


def test_what_cannot_be_saved_is_one_line(prediction, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in '\.bmp', expected \.png or \.jpg"):
        prediction.save(tmp_path / "a.bmp")
    with pytest.raises(ConfigError, match=r"ends in '', expected"):
        prediction.save(tmp_path)
    with pytest.raises(RunError, match="absent"):
        prediction.save(tmp_path / "absent" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RunError, match="is no regular file"):
        prediction.save(tmp_path / "folder.png")
    bare = Prediction(0.5, prediction.anomaly_map)
    assert bare.image is None
    assert bare._repr_png_() is None
    for use in (bare.draw, bare.plot, bare.to_dict, lambda: bare.save(tmp_path / "a.png")):
        with pytest.raises(ConfigError, match="has no image and no record"):
            use()


def test_good_parts_are_drawn_almost_as_they_are(calibrated_run, many_parts, prediction):
    path = many_parts / "nut" / "train" / "good" / "000.png"
    good = mambaad.Inspector(calibrated_run).inspect(path)
    changed = np.abs(good.draw().astype(int) - good.image).mean()
    assert changed < np.abs(prediction.draw().astype(int) - prediction.image).mean()


def test_plot_gives_a_figure_and_notebooks_a_picture(prediction):
    figure = prediction.plot()
    left, right, bar = figure.axes
    assert np.array_equal(left.images[0].get_array(), prediction.image)
    assert np.array_equal(right.images[0].get_array(), prediction.draw())
    assert bar.get_ylabel() == "anomaly map"
    assert bar.get_ylim() == pytest.approx(prediction.heatmap_range)
    assert prediction.verdict.value in figure.get_suptitle()
    for picture in (figure._repr_png_(), prediction._repr_png_()):
        assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_a_large_image_is_shown_smaller(calibrated_run):
    large = np.zeros((64, 3000, 3), np.uint8)
    found = mambaad.Inspector(calibrated_run).inspect(large)
    assert Image.open(io.BytesIO(found._repr_png_())).size == (1024, 22)
    assert found.draw().shape == large.shape


def test_matplotlib_is_loaded_to_draw_only():
    code = "import sys, mambaad; mambaad.Inspector; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
