"""anomalib's PatchCore through our encoder, data and metrics."""

import numpy as np
import pytest
import torch

from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.models.normalise import normalise
from mambaad.workflows.benchmark.peer_settings import peer_settings
from mambaad.workflows.benchmark.peers import PatchCore
from mambaad.workflows.evaluate import evaluate_engine

pytest.importorskip("anomalib.models.image.patchcore.torch_model")


@pytest.fixture(scope="module")
def fitted(parts):
    settings = {"peer": "patchcore", "encoder": "resnet18", "encoder_weights": "random"}
    peer = PatchCore(peer_settings({**settings, "size": 64, "share": 0.5}))
    peer.fit([sample for c in MVTEC.read(parts) for sample in c.train])
    return peer


def test_the_memory_bank_is_the_share_of_all_classes_patches(fitted):
    patches = 2 * 6 * (64 // 8) ** 2
    rows, channels = fitted.model.memory_bank.shape
    assert channels == 128 + 256
    assert abs(rows - patches / 2) < 4 * np.sqrt(patches / 4)  # four standard deviations


def test_maps_are_distances_to_the_nearest_patch_of_the_bank(fitted, parts):
    pixels = np.full((1, 64, 64, 3), 90, np.uint8)
    (observation,) = fitted.observe(pixels)
    image = normalise(torch.from_numpy(pixels))
    with torch.inference_mode():
        features = fitted.model.feature_extractor(image)
        pooled = [torch.nn.functional.avg_pool2d(f, 3, 1, 1) for f in features.values()]
        grown = torch.nn.functional.interpolate(pooled[1], (8, 8), mode="bilinear")
        cells = torch.cat([pooled[0], grown], dim=1)[0].flatten(1).T
        distances = torch.cdist(cells, fitted.model.memory_bank).amin(dim=1)
    # The smoothed map lies within what the cells have, and its mean near theirs.
    assert distances.min() <= observation.anomaly_map.min() + 1e-3
    assert observation.anomaly_map.max() <= distances.max() + 1e-3
    assert observation.score == observation.anomaly_map.max()


def test_it_is_evaluated_as_our_systems_are(fitted, parts):
    evaluation = evaluate_engine(fitted, MVTEC.read(parts, split="test"), "exact")
    assert evaluation.classes.keys() == {"bolt", "nut"}
    assert evaluation.mean["image_auroc"] > 0.8  # its defects are bright strokes
