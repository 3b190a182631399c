"""Each system trains, is kept and inspects, in one loop for all of them."""

import numpy as np
import pytest
import torch

import mambaad
from mambaad.artifacts.run_folder import load_model
from mambaad.systems import SYSTEMS, system_class

# UniAD is blind to 7 x 7 cells, and so needs images of 8 x 8.
SETTINGS = {"rd4ad": {"size": "32"}, "uniad": {"size": "32x128"}}
TINY = {"encoder": "resnet18", "encoder_weights": "random", "epochs": 1, "batch_size": 4}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_system_trains_and_inspects(name, parts, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", system=name, **TINY, **SETTINGS[name])
    inspector = mambaad.Inspector(run)
    image = next((parts / "nut" / "test").rglob("*.png"))
    prediction = inspector.inspect(image)
    assert prediction.anomaly_map.shape == inspector.size
    assert np.isfinite(prediction.anomaly_map).all()
    assert prediction.product in inspector.products

    # What is inspected with is what was trained: the form for inference changes nothing.
    model = load_model(run)
    assert type(model) is system_class(name)
    images = torch.randn(1, 3, *inspector.size)
    with torch.inference_mode():
        for found, expected in zip(
            inspector.model(images).reconstructed, model(images).reconstructed, strict=True
        ):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_other_systems_have_no_bfloat16(parts, tmp_path):
    run = mambaad.train(parts, tmp_path / "run", system="rd4ad", **TINY, size="32")
    with pytest.raises(mambaad.MambaADError, match="RD4AD has float32 only"):
        mambaad.Inspector(run, "bfloat16")


FURTHER = '''
from torch import nn

from mambaad.models.encoder import Encoder
from mambaad.models.system import System


class Blurred(System):
    """Rebuilds each map from its blurred self."""

    defaults = {"encoder": "resnet18", "loss": "cosine", "lr": 0.01}

    def __init__(self, encoder):
        super().__init__(encoder)
        self.mix = nn.ModuleList(nn.Conv2d(c, c, 1) for c in encoder.channels)

    @classmethod
    def build(cls, config, encoder_weights):
        return cls(Encoder(config.encoder, encoder_weights))

    def reconstruct(self, features):
        blurred = (nn.functional.avg_pool2d(f, 3, 1, 1) for f in features)
        return [mix(b) for mix, b in zip(self.mix, blurred, strict=True)]
'''


def test_a_further_system_is_one_file_and_one_line(parts, tmp_path, monkeypatch):
    (tmp_path / "blurred.py").write_text(FURTHER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(SYSTEMS, "blurred", "blurred:Blurred")
    run = mambaad.train(
        parts, tmp_path / "run", system="blurred", encoder_weights="random", epochs=2, size="32"
    )
    assert mambaad.evaluate(run, parts).classes.keys() == {"bolt", "nut"}
    assert type(load_model(run)).__name__ == "Blurred"
