"""The batches of a training; that caches change no weights is tested in test_train.py."""

import threading

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.data.images import read_image, read_sample_image, resize_image
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.errors import DataError
from mambaad.models.normalise import normalise
from mambaad.training import batches as module
from mambaad.training.batches import TrainingBatches, make_batches
from tests.conftest import SMALL, make_parts

CPU = torch.device("cpu")
SIZE = (64, 64)


@pytest.fixture
def samples(parts):
    return [sample for c in MVTEC.read(parts) for sample in c.train]


def expected(samples, indices):
    pixels = [resize_image(read_image(samples[i].path), SIZE) for i in indices]
    return normalise(torch.from_numpy(np.stack(pixels)))


def made(samples, folder, **settings):
    return make_batches(samples, make_config({**SMALL, **settings}), folder, CPU)


@pytest.fixture(params=["here", "ahead"], autouse=True)
def laid_out(request, monkeypatch):
    """Prepare batches as for a CPU; and as for a GPU, by a thread, but for the pinned memory."""
    if request.param == "ahead":
        real = TrainingBatches.__init__

        def init(self, *args, **caches):
            real(self, *args, **caches)
            self._is_gpu = True

        monkeypatch.setattr(TrainingBatches, "__init__", init)
        monkeypatch.setattr(TrainingBatches, "_pinned", lambda self, tensors: tensors)


@pytest.fixture
def reads(monkeypatch):
    """List the paths that are decoded."""
    seen = []

    def read(sample):
        seen.append(sample.path)
        return read_sample_image(sample)

    monkeypatch.setattr(module, "read_sample_image", read)
    return seen


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_images_are_read_once_and_stay_the_same(samples, tmp_path, place, reads):
    batches = made(samples, tmp_path, cache_features="off", cache_images=place)
    for epoch in ([[3, 0], [5, 1]], [[0, 1], [3, 5]], [[5, 0], [2, 4]]):
        for indices, (given, images, features) in zip(epoch, batches.load(epoch), strict=True):
            assert given == indices
            assert features is None
            assert torch.equal(images, expected(samples, indices))
    assert len(reads) == len(set(reads)) == 6


def test_nothing_is_kept_where_it_is_off(samples, tmp_path, reads):
    batches = made(samples, tmp_path, cache_features="off", cache_images="off")
    for _ in range(2):
        list(batches.load([[0, 1]]))
    assert len(reads) == 4


def test_kept_features_stand_for_images(samples, tmp_path, reads):
    batches = made(samples, tmp_path, cache_features="memory")
    maps = [torch.randn(2, 8, 4, 4), torch.randn(2, 3, 2, 2)]
    for _ in batches.load([[4, 2]]):
        batches.keep([4, 2], maps)
    ((_, images, features),) = batches.load([[2, 4]])
    assert images is None
    for found, given in zip(features, maps, strict=True):
        assert torch.equal(found, given.flip(0))
    assert len(reads) == 2
    assert batches._pixels is not None
    assert not batches._pixels.has([2])  # they would not be read again


def test_images_are_kept_where_features_have_no_room(samples, tmp_path, monkeypatch, reads):
    batches = made(samples, tmp_path)
    assert batches._features is not None
    monkeypatch.setattr(batches._features, "_choose", lambda: None)
    for epoch in ([[0, 1], [2, 3]], [[1, 0], [2, 3]], [[0, 2], [1, 3]]):
        for indices, (given, images, features) in zip(epoch, batches.load(epoch), strict=True):
            assert given == indices
            assert features is None
            assert torch.equal(images, expected(samples, indices))
            batches.keep(indices, [torch.randn(2, 8, 4, 4)])
    # The first batch, or two, were there before anything was known of features.
    assert len(reads) <= 8


def test_a_broken_image_is_named_and_closing_early_leaves_no_thread(tmp_path):
    root = make_parts(tmp_path / "parts")
    (root / "bolt" / "train" / "good" / "003.png").write_bytes(b"no image")
    samples = [s for c in MVTEC.read(root) for s in c.train]
    batches = made(samples, tmp_path)
    with pytest.raises(DataError, match=r"003\.png"):
        list(batches.load([[0, 1], [2, 3]]))
    loaded = batches.load([[0, 1], [4, 5]])
    next(loaded)
    threads = threading.active_count()
    loaded.close()
    assert threading.active_count() < threads
    assert batches.waited > 0
