"""What a system measures before its training, on the parts that it is trained on."""

import numpy as np
import torch

import mambaad
from mambaad.data.read_ahead import read_batches
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.inference.weights import load_model
from mambaad.models.normalise import normalise
from mambaad.models.system import System
from mambaad.training.preparation import prepare
from tests.runs import read

TINY = {"encoder": "resnet18", "encoder_weights": "random", "epochs": 1, "batch_size": 4}


def test_a_run_of_uniad_has_the_mean_and_deviation_of_its_parts_features(parts, tmp_path):
    run = mambaad.train(
        parts, tmp_path / "run", system="uniad", recipe="fast", size="32x128", **TINY
    )
    model = read(load_model, run)
    # There are fewer parts than would be skipped.
    samples = [s for c in MVTEC.read(parts) for s in c.train]
    (batch,) = read_batches(samples, (32, 128), 100)
    with torch.inference_mode():
        (features,) = model.encoder(normalise(torch.from_numpy(batch.pixels)))
    cells = features.double().numpy().transpose(0, 2, 3, 1).reshape(-1, features.shape[1])
    np.testing.assert_allclose(model.mean, cells.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.std, cells.std(axis=0), rtol=1e-3, atol=1e-4)


class Counting(System):
    """Counts the images of which it is shown maps."""

    shown = 0

    def prepare(self, batches):
        for (maps,) in batches:
            self.shown += len(maps)

    def reconstruct(self, features):
        return list(features)


def test_no_more_images_than_it_takes(parts):
    sample = MVTEC.read(parts)[0].train[0]
    for images, shown in ((5, 5), (200, 200), (201, 101)):
        model = Counting(Listed())
        prepare(model, [sample] * images, (32, 32))
        assert model.shown == shown


class Listed(torch.nn.Module):
    def forward(self, images):
        return [images]
