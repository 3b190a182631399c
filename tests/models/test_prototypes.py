import pytest
import torch

from mambaad.artifacts.run_folder import load_model, read_good_parts
from mambaad.data.read_ahead import load_batches
from mambaad.data.readers.mvtec import read_mvtec
from mambaad.data.transforms import Preprocess
from mambaad.models.prototypes import embedding, look_at_good_parts
from mambaad.models.scoring import anomaly_map, calm_scale


def test_an_embedding_does_not_depend_on_the_place_of_things():
    features = [torch.rand(2, c, 4, 4) for c in (3, 5)]
    shifted = [f.roll((1, 2), dims=(2, 3)) for f in features]
    assert torch.allclose(embedding(features), embedding(shifted))
    assert embedding(features).shape == (2, 8)
    assert embedding(features).square().sum(1) == pytest.approx([2, 2])  # each scale at length 1


def test_what_training_keeps_is_the_mean_and_the_scale_of_all_parts(parts, trained_run):
    # There are fewer parts than would be left out, so the mean is over all of them.
    model, classes, size = load_model(trained_run), read_mvtec(parts), (64, 64)
    kept = read_good_parts(trained_run)
    means, maps = [], []
    with torch.inference_mode():
        for c in classes:
            (batch,) = load_batches(c.train, Preprocess(*size), 10)
            features, reconstructed = model(batch.images)
            means.append(embedding(features).mean(0))
            maps.append(anomaly_map(features, reconstructed, size))
    assert torch.allclose(kept.means, torch.stack(means), atol=1e-5)
    assert kept.scale == pytest.approx(calm_scale(torch.cat(maps)), abs=1e-4)
    again = look_at_good_parts(model, classes, size)
    assert again.scale == kept.scale
    assert torch.equal(again.means, kept.means)
