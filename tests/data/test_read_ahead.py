"""Batches in order, and threads that end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mambaad.data.images import read_image, read_sample_image, resize_image
from mambaad.data.read_ahead import read_ahead, read_batches, reader_threads
from mambaad.types import Sample
from tests.data.conftest import Complains, WriteImage

SIZE = (32, 64)


@pytest.fixture
def samples(tmp_path: Path, write_image: WriteImage) -> list[Sample]:
    # Of another size each, so that no two are equal.
    return [Sample(write_image(tmp_path / f"{i}.png", 8 + i, 12), "nut") for i in range(11)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 11, 20])
def test_order_and_the_last_batch(samples: list[Sample], batch_size: int, workers: int) -> None:
    batches = list(read_batches(samples, SIZE, batch_size, workers=workers))
    sizes = [len(batch.samples) for batch in batches]
    assert sum(sizes) == 11
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == (11 % batch_size or batch_size)
    assert [s for batch in batches for s in batch.samples] == samples
    images = np.concatenate([batch.pixels for batch in batches])
    assert images.dtype == np.uint8
    for image, sample in zip(images, samples, strict=True):
        np.testing.assert_array_equal(image, resize_image(read_image(sample.path), SIZE))


def test_nothing_to_load() -> None:
    assert list(read_batches([], SIZE, 4)) == []


def test_threads_end_with_the_iterator(samples: list[Sample]) -> None:
    before = set(threading.enumerate())
    batches = read_batches(samples, SIZE, 2, workers=2)
    next(batches)
    assert len(set(threading.enumerate()) - before) == 2
    batches.close()
    assert set(threading.enumerate()) == before
    list(read_batches(samples, SIZE, 2, workers=2))
    assert set(threading.enumerate()) == before


def test_only_a_few_batches_are_read_ahead(samples: list[Sample], monkeypatch) -> None:
    read: list[Path] = []

    def counting(sample: Sample):
        read.append(sample.path)
        return read_sample_image(sample)

    monkeypatch.setattr("mambaad.data.read_ahead.read_sample_image", counting)
    batches = read_batches(samples, SIZE, 1, workers=1)
    next(batches)
    end = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)  # in which a thread would read on
    batches.close()
    assert len(read) == 3  # the one taken, and two ahead


def test_unreadable_image(samples: list[Sample], complains: Complains) -> None:
    before = set(threading.enumerate())
    broken = samples[5].path
    broken.write_bytes(broken.read_bytes()[:60])
    batches = read_batches(samples, SIZE, 2)
    assert [next(batches).samples, next(batches).samples] == [
        tuple(samples[:2]),
        tuple(samples[2:4]),
    ]
    with complains(broken):
        next(batches)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (8, 8), (64, 16), (None, 1)])
def test_a_gpu_has_a_reader_a_core(monkeypatch, cores: int | None, threads: int) -> None:
    monkeypatch.setattr("mambaad.data.read_ahead.os.cpu_count", lambda: cores)
    assert reader_threads(is_gpu=True) == threads
    assert reader_threads(is_gpu=False) == 2


def test_what_is_heavy_is_not_piled_up() -> None:
    started: list[int] = []

    def read(number: int) -> int:
        started.append(number)
        return number

    items = read_ahead(read, range(20), workers=1, ahead=10, weigh=lambda n: 100, limit=250)
    for number in items:
        time.sleep(0.02)  # the reader has time to run ahead
        assert max(started) <= number + 3
    assert started == list(range(20))
    assert list(read_ahead(read, range(5), weigh=lambda n: 100, limit=1)) == [0, 1, 2, 3, 4]
