import numpy as np
import pytest

from mambaad.errors import RunError
from mambaad.metrics import pixel_scores
from mambaad.metrics.ader_paper import ader_pixel_metrics
from mambaad.metrics.pixel import pixel_metrics
from mambaad.metrics.pixel_scores import PixelScores, SortedChunks
from tests.metrics.test_pixel import class_of_images


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(pixel_scores, "CHUNK", 1000)


@pytest.mark.parametrize("levels", [5, None])
def test_counts_are_those_of_one_array(small_chunks, levels):
    rng = np.random.default_rng(0)
    chunks, scores = SortedChunks(), []
    for size in (0, 1, 999, 2500, 17):
        part = rng.normal(size=size).astype(np.float32)
        part = np.round(part * levels) / levels if levels else part
        chunks.add(part)
        scores.append(part)
    whole = np.concatenate(scores)
    thresholds = np.unique(whole)
    for or_equal in (True, False):
        above = whole >= thresholds[:, None] if or_equal else whole > thresholds[:, None]
        counted = chunks.count_above(thresholds, or_equal=or_equal)
        assert np.array_equal(counted, above.sum(axis=1))
    assert (chunks.size, chunks.low, chunks.high) == (3517, whole.min(), whole.max())


@pytest.mark.parametrize("compute", [pixel_metrics, ader_pixel_metrics])
@pytest.mark.parametrize("levels", [20, None])
def test_the_file_changes_no_metric(monkeypatch, compute, levels):
    maps, masks = class_of_images(3, images=8, levels=levels)
    in_memory = compute(maps, masks)
    monkeypatch.setattr(pixel_scores, "CHUNK", 1000)
    assert compute(maps, masks) == in_memory


def test_counting_twice_and_adding_after(small_chunks):
    chunks = SortedChunks()
    scores = np.random.default_rng(1).random(5000).astype(np.float32)
    half = np.array([0.5], np.float32)
    for part in np.split(scores, 5):
        chunks.add(part)
        expected = (scores[: chunks.size] > 0.5).sum()
        assert chunks.count_above(half, or_equal=False)[0] == expected


def test_each_region_covers_the_same(small_chunks):
    mask = np.zeros((8, 8), bool)
    mask[0, :4] = mask[6, 6] = True
    pixels = PixelScores()
    pixels.add(np.arange(64, dtype=np.float32).reshape(8, 8), mask)
    scores, overlap = pixels.anomalous()
    assert scores.tolist() == [54, 3, 2, 1, 0]
    assert overlap == pytest.approx([0, 0.5, 0.625, 0.75, 0.875, 1])


def test_a_full_temporary_folder_is_one_line(small_chunks, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_scores.tempfile, "TemporaryFile", full)
    with pytest.raises(RunError, match=r"No space left on device.*TMPDIR"):
        SortedChunks().add(np.zeros(1001, np.float32))
