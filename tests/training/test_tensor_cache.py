import shutil
from types import SimpleNamespace

import psutil
import pytest
import torch

from mambaad.errors import RunError
from mambaad.training import tensor_cache
from mambaad.training.tensor_cache import TensorCache


def maps_of(images: int) -> list[torch.Tensor]:
    return [torch.randn(images, 3, 4, 6), torch.randn(images, 5, 2, 3).bfloat16()]


@pytest.mark.parametrize("place", ["auto", "device", "memory", "disk"])
def test_what_is_read_is_what_was_written(tmp_path, place):
    cache = TensorCache(7, tmp_path, place)
    maps = maps_of(7)
    assert not cache.has([0])
    for indices in ([4, 0, 6], [1, 2]):
        cache.put(indices, [m[indices] for m in maps])
    assert cache.has([0, 1, 2, 4, 6])
    assert not cache.has([0, 3])
    for read, written in zip(cache.get([2, 0, 4]), maps, strict=True):
        assert torch.equal(read, written[[2, 0, 4]])
        assert read.dtype == written.dtype
    assert cache.place == ("memory" if place == "auto" else place)
    assert cache.bytes == 7 * (3 * 4 * 6 * 4 + 5 * 2 * 3 * 2)


def test_nothing_is_left_on_disk(tmp_path):
    cache = TensorCache(2, tmp_path, "disk")
    cache.put([0, 1], maps_of(2))
    del cache
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("memory", "disk", "place"), [(2000, 0, "memory"), (1998, 2000, "disk"), (1998, 1998, None)]
)
def test_auto_takes_half_of_what_is_free(tmp_path, monkeypatch, memory, disk, place):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=memory))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=disk))
    cache = TensorCache(10, tmp_path)
    cache.put([0], [torch.randn(1, 5, 5, 1)])  # 100 bytes an image
    assert cache.place == place
    assert cache.has([0]) == (place is not None)


@pytest.mark.parametrize(("on_gpu", "place"), [(2000, "device"), (1998, "memory")])
def test_auto_prefers_the_memory_of_a_gpu(tmp_path, monkeypatch, on_gpu, place):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (on_gpu, 10**6))
    made, real = [], torch.empty

    def empty(shape, *, dtype, device):  # there need not be a GPU
        made.append(device.type)
        return real(shape, dtype=dtype)

    monkeypatch.setattr(torch, "empty", empty)
    cache = TensorCache(10, tmp_path, device=torch.device("cuda"))
    cache.put([0], [torch.randn(1, 5, 5, 1)])  # 100 bytes an image
    assert cache.place == place
    assert made == ["cuda" if place == "device" else "cpu"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_cache.os, "posix_fallocate", full, raising=False)
    with pytest.raises(RunError, match=r"--cache-features disk: no room .*No space left"):
        TensorCache(2, tmp_path, "disk").put([0, 1], maps_of(2))
    assert list(tmp_path.iterdir()) == []
