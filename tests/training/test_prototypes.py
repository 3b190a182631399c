"""The prototypes and the heatmap range that training measures on its good parts."""

import numpy as np
import pytest
import torch

from mambaad.artifacts.prototypes import read_prototypes
from mambaad.data.read_ahead import read_batches
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.inference.weights import load_model
from mambaad.models.embedding import embedding
from mambaad.models.normalise import normalise
from mambaad.models.scoring import anomaly_map, heatmap_range
from mambaad.training.prototypes import measure_prototypes
from tests.runs import read


def test_a_run_has_the_mean_embeddings_and_the_heatmap_range_of_all_its_parts(parts, trained_run):
    # There are fewer parts than would be skipped, so the mean is over all of them.
    model, classes, size = read(load_model, trained_run), MVTEC.read(parts), (64, 64)
    stored = read(read_prototypes, trained_run)
    means, maps = [], []
    with torch.inference_mode():
        for c in classes:
            (batch,) = read_batches(c.train, size, 10)
            features, reconstructed, _ = model(normalise(torch.from_numpy(batch.pixels)))
            means.append(embedding(features).mean(0).numpy())
            maps.append(anomaly_map(features, reconstructed, size))
    assert stored.products == tuple(c.name for c in classes)
    np.testing.assert_allclose(stored.means, means, atol=1e-5)
    assert stored.heatmap_range == pytest.approx(heatmap_range(torch.cat(maps)), abs=1e-4)
    again = measure_prototypes(model, classes, size)
    assert again.heatmap_range == stored.heatmap_range
    np.testing.assert_array_equal(again.means, stored.means)
