"""MambaAD in anomalib's hands: trained, evaluated, exported and loaded again by it."""

import sys

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.models.scoring import anomaly_map
from mambaad.training.schedule import learning_rate

pytest.importorskip("anomalib.engine")

from anomalib.data import Folder
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from lightning.pytorch import Callback

from mambaad.integrations.anomalib import MambaAD

# Lightning and anomalib warn of what they themselves use.
pytestmark = pytest.mark.filterwarnings("ignore", "error:::mambaad.integrations.anomalib")

SMALL = {
    "encoder": "resnet18",
    "encoder_weights": "random",
    "size": 64,
    "variant": "lite",
    "directions": 2,
    "epochs": 2,
}


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.fixture(scope="module")
def folder(parts):
    return Folder(
        "parts",
        root=parts,
        normal_dir=["bolt/train/good", "nut/train/good"],
        normal_test_dir=["bolt/test/good", "nut/test/good"],
        abnormal_dir=["bolt/test/spot", "nut/test/spot"],
        mask_dir=["bolt/ground_truth/spot", "nut/ground_truth/spot"],
        train_batch_size=4,
        eval_batch_size=4,
        num_workers=0,
        seed=0,
    )


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    """A model trained for two epochs, and the Engine that did it."""
    torch.manual_seed(0)
    rates = Rates()
    engine = Engine(
        callbacks=[rates],
        accelerator="cpu",
        devices=1,
        default_root_dir=tmp_path_factory.mktemp("engine"),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = MambaAD(**SMALL, visualizer=False)
    engine.fit(model, datamodule=folder)
    return model.eval(), engine, rates.seen


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_it_trains_with_our_schedule(fitted):
    model, engine, rates = fitted
    steps = 3  # 12 images of two classes
    expected = [learning_rate(model.config, e, s / steps) for e in range(2) for s in range(steps)]
    assert rates == pytest.approx(expected)
    assert engine.trainer.callback_metrics["train_loss"].isfinite()
    assert not any(p.requires_grad for p in model.model.network.encoder.parameters())


def test_predictions_are_maps_labels_and_scores(fitted, folder):
    model, engine, _ = fitted
    batches = engine.predict(model, datamodule=folder)
    assert sum(len(batch.image) for batch in batches) == len(folder.test_data)
    for batch in batches:
        assert batch.anomaly_map.shape == (len(batch.image), 64, 64)
        for values in (batch.anomaly_map, batch.pred_score):
            assert values.isfinite().all()
            assert (values >= 0).all()
            assert (values <= 1).all()  # anomalib's normalisation
        assert batch.pred_label.dtype == torch.bool


def test_anomalib_measures_it(fitted, folder):
    model, engine, _ = fitted
    (results,) = engine.test(model, datamodule=folder, verbose=False)
    assert 0 <= results["image_AUROC"] <= 1
    assert 0 <= results["pixel_AUROC"] <= 1


def test_maps_are_those_of_our_network(fitted, images):
    model = fitted[0]
    network = model.model.network
    with torch.no_grad():
        batch = model.model(images)
        expected = anomaly_map(*network(images)[:2], (64, 64))
    assert torch.equal(batch.anomaly_map[:, 0], expected)
    assert torch.equal(batch.pred_score[:, 0], expected.flatten(1).amax(1))


def test_a_checkpoint_needs_no_file_of_the_encoder(fitted, images):
    model, engine, _ = fitted
    model = model.eval()
    loaded = MambaAD.load_from_checkpoint(engine.best_model_path, visualizer=False).eval()
    assert (
        loaded.config
        == model.config
        == make_config({"recipe": "fast", "head": "off", **_without_weights()})
    )
    assert loaded.hparams["encoder_weights"] == "random"
    with torch.no_grad():
        assert torch.equal(loaded.model(images).anomaly_map, model.model(images).anomaly_map)


def _without_weights():
    return {name: value for name, value in SMALL.items() if name != "encoder_weights"}


def test_the_torch_export_is_loaded_by_anomalibs_inferencer(fitted, images, tmp_path, monkeypatch):
    model, engine, _ = fitted
    path = engine.export(model, ExportType.TORCH, export_root=tmp_path)
    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")  # a pickle: ours, from a line above
    with torch.no_grad():
        prediction = TorchInferencer(path, device="cpu").predict(images[0])
        expected = model(images[:1])
    assert torch.equal(prediction.anomaly_map, expected.anomaly_map[:, 0])
    assert prediction.pred_score.item() == expected.pred_score.item()


@pytest.mark.parametrize("input_size", [(64, 64), None])
def test_the_onnx_export_gives_the_same_values(fitted, tmp_path, input_size):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, engine, _ = fitted
    path = engine.export(model, ExportType.ONNX, export_root=tmp_path, input_size=input_size)
    session = runtime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    for count, side in ((1, 64), (3, 64 if input_size else 90)):
        images = torch.rand(count, 3, side, side)
        values = dict(zip(names, session.run(None, {"input": images.numpy()}), strict=True))
        with torch.no_grad():
            expected = model(images)
        for name in ("anomaly_map", "pred_score"):
            np.testing.assert_allclose(values[name], getattr(expected, name), atol=1e-3)
        assert (values["pred_label"] == expected.pred_label.numpy()).all()


def test_without_onnxscript_the_onnx_export_says_what_to_install(fitted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "mambaad.ops.selective_scan.onnx", raising=False)
    with pytest.raises(ConfigError, match=r"pip install .mambaad\[onnx\]"):
        fitted[0].to_onnx(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"), [("batch_size", "train_batch_size"), ("system", "only MambaAD")]
)
def test_settings_that_are_not_the_models_are_refused(name, hint):
    with pytest.raises(ConfigError, match=hint):
        MambaAD(**SMALL, **{name: "x"})


def test_the_pre_processor_has_our_size(fitted):
    assert tuple(fitted[0].input_size) == (64, 64)
    assert MambaAD(**{**SMALL, "size": "64x96"}).input_size == (64, 96)
