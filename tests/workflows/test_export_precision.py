"""Exports in int8 and bfloat16, and whose thresholds they have."""

import shutil

import numpy as np
import pytest

from mambaad.artifacts.run_folder import read_data_summary
from mambaad.artifacts.snapshot import opened
from mambaad.data.images import read_image, resize_image
from mambaad.errors import DataError
from mambaad.export.values import CLOSE
from mambaad.files import file_digest
from mambaad.inspection.inspector import Inspector
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.export import export
from mambaad.workflows.training_parts import trained_on, training_images

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_int8_is_calibrated_again_on_the_parts_held_out(calibrated_run, many_parts, tmp_path):
    out = tmp_path / "int8"
    manifest = export(calibrated_run, out, precision="int8", data=many_parts)
    before, inspector = Inspector(calibrated_run), Inspector(out)
    assert inspector.precision == "int8"
    assert inspector.calibration.precision == "int8"
    assert inspector.calibration.runtime == "onnx"
    for name, c in inspector.calibration.classes.items():
        old = before.calibration.classes[name]
        assert len(c.scores) == len(old.scores)
        assert c.review.asked == old.review.asked
        assert c.review.value != old.review.value
    assert manifest.checked["maps"] > CLOSE  # it rounds
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(out / "model.onnx").graph.node
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) > 20
    assert sum(node.op_type == "SelectiveScan" for node in nodes) > 0


def test_scales_are_chosen_on_parts_that_it_was_trained_on(calibrated_run, many_parts):
    with opened(calibrated_run) as run:
        digests = {digest for part in read_data_summary(run)["parts"].values() for digest in part}
        images = training_images(run, trained_on(run, many_parts), None)
    by_pixels = {
        resize_image(read_image(file), (64, 64)).tobytes(): file_digest(file)
        for file in many_parts.glob("*/train/good/*.png")
    }
    assert len(by_pixels) == 60
    chosen = {by_pixels[image.tobytes()][:16] for image in images}
    assert len(chosen) == 30
    assert chosen == digests


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_other_data_than_the_runs_are_refused(calibrated_run, parts, tmp_path, precision):
    to = "onnx" if precision == "int8" else "torch-export"
    with pytest.raises(DataError, match=f"does not hold the parts that {calibrated_run} was"):
        export(calibrated_run, tmp_path / "out", to=to, precision=precision, data=parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["openvino", "torch-export"])
def test_bfloat16_has_the_models_values_and_thresholds_of_its_own(
    calibrated_run, many_parts, target, tmp_path
):
    if target == "openvino":
        pytest.importorskip("openvino")
    out = tmp_path / "out"
    manifest = export(calibrated_run, out, to=target, precision="bfloat16", data=many_parts)
    assert CLOSE < manifest.checked["maps"] < 0.05
    exported, model = Inspector(out), Inspector(calibrated_run, "bfloat16", device="cpu")
    assert (exported.precision, exported.calibration.precision) == ("bfloat16", "bfloat16")
    assert exported.calibration.runtime == target
    image = next((many_parts / "nut" / "test" / "spot").iterdir())
    ours, theirs = model.inspect(image), exported.inspect(image)
    assert theirs.verdict is not None
    np.testing.assert_allclose(theirs.anomaly_map, ours.anomaly_map, atol=0.02)


def test_thresholds_of_another_precision_are_not_exported(calibrated_run, many_parts, tmp_path):
    assert export(calibrated_run, tmp_path / "same").thresholds
    run = shutil.copytree(calibrated_run, tmp_path / "run")
    calibrate(run, many_parts, precision="bfloat16")
    assert export(run, tmp_path / "other").thresholds == {}
