"""That what is kept changes no training is tested in test_train.py."""

import threading

import numpy as np
import pytest
import torch

from mambaad.config import make_config
from mambaad.data.images import read_image
from mambaad.data.readers.mvtec import read_mvtec
from mambaad.data.transforms import Preprocess
from mambaad.errors import DataError
from mambaad.training import batches as module
from mambaad.training.batches import Feed
from tests.conftest import SMALL, make_parts

CPU = torch.device("cpu")
SIZE = (64, 64)


@pytest.fixture
def samples(parts):
    return [sample for c in read_mvtec(parts) for sample in c.train]


def expected(samples, batch):
    return torch.stack([Preprocess(*SIZE)(read_image(samples[i].path)) for i in batch])


def make_feed(samples, folder, **settings):
    return Feed(samples, make_config({**SMALL, **settings}), folder, CPU)


@pytest.fixture(params=["here", "ahead"], autouse=True)
def laid_out(request, monkeypatch):
    """Batches laid out as for a CPU; and as for a GPU, by a thread, but for the pinned memory."""
    if request.param == "ahead":
        real = Feed.__init__

        def init(self, *args):
            real(self, *args)
            self._is_gpu = True

        monkeypatch.setattr(Feed, "__init__", init)
        monkeypatch.setattr(Feed, "_pinned", lambda self, tensors: tensors)


@pytest.fixture
def reads(monkeypatch):
    """The paths that are decoded."""
    seen = []

    def read(path):
        seen.append(path)
        return read_image(path)

    monkeypatch.setattr(module, "read_image", read)
    return seen


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_images_are_read_once_and_stay_the_same(samples, tmp_path, place, reads):
    feed = make_feed(samples, tmp_path, cache_features="off", cache_images=place)
    for batches in ([[3, 0], [5, 1]], [[0, 1], [3, 5]], [[5, 0], [2, 4]]):
        for batch, (images, features) in zip(batches, feed.steps(batches), strict=True):
            assert features is None
            assert torch.equal(images, expected(samples, batch))
    assert len(reads) == len(set(reads)) == 6


def test_nothing_is_kept_where_it_is_off(samples, tmp_path, reads):
    feed = make_feed(samples, tmp_path, cache_features="off", cache_images="off")
    for _ in range(2):
        list(feed.steps([[0, 1]]))
    assert len(reads) == 4


def test_kept_features_stand_for_images(samples, tmp_path, reads):
    feed = make_feed(samples, tmp_path, cache_features="memory")
    maps = [torch.randn(2, 8, 4, 4), torch.randn(2, 3, 2, 2)]
    for _ in feed.steps([[4, 2]]):
        feed.keep([4, 2], maps)
    ((images, features),) = feed.steps([[2, 4]])
    assert images is None
    for found, given in zip(features, maps, strict=True):
        assert torch.equal(found, given.flip(0))
    assert len(reads) == 2
    assert feed._pixels is not None
    assert not feed._pixels.has([2])  # they would not be read again


def test_images_are_kept_where_features_have_no_room(samples, tmp_path, monkeypatch, reads):
    feed = make_feed(samples, tmp_path)
    assert feed._features is not None
    monkeypatch.setattr(feed._features, "_choose", lambda: None)
    for batches in ([[0, 1], [2, 3]], [[1, 0], [2, 3]], [[0, 2], [1, 3]]):
        for batch, (images, features) in zip(batches, feed.steps(batches), strict=True):
            assert features is None
            assert torch.equal(images, expected(samples, batch))
            feed.keep(batch, [torch.randn(2, 8, 4, 4)])
    # The first batch, or two, were there before anything was known of features.
    assert len(reads) <= 8


def test_a_broken_image_is_told_and_closing_early_leaves_no_thread(tmp_path):
    root = make_parts(tmp_path / "parts")
    (root / "bolt" / "train" / "good" / "003.png").write_bytes(b"no image")
    samples = [s for c in read_mvtec(root) for s in c.train]
    feed = make_feed(samples, tmp_path)
    with pytest.raises(DataError, match=r"003\.png"):
        list(feed.steps([[0, 1], [2, 3]]))
    steps = feed.steps([[0, 1], [4, 5]])
    next(steps)
    threads = threading.active_count()
    steps.close()
    assert threading.active_count() < threads
    assert feed.waited > 0


def test_pixels_on_their_device_are_normalised_as_one_by_one():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)
    one_by_one = torch.stack([Preprocess().normalise(p) for p in pixels])
    together = Preprocess().normalise_batch(torch.from_numpy(pixels))
    assert torch.equal(together, one_by_one)
    assert together.is_contiguous()
    scaled = pixels[0] / 255
    true = (scaled - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(one_by_one[0].permute(1, 2, 0), true, atol=1e-6)
