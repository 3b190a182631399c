"""What processes of one machine keep together: one decides, all see, nothing is left."""

import multiprocessing
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import distributed

if sys.platform != "linux":
    pytest.skip("processes share files on Linux", allow_module_level=True)

from mambaad.errors import RunError
from mambaad.training.shared_files import SharedFiles, can_share, open_shared_files
from mambaad.training.tensor_cache import TensorCache


@pytest.fixture
def several():
    """A group of one process: as several, but for who else is there."""
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def again(files: SharedFiles) -> SharedFiles:
    """The same files, opened as another process opens them."""
    opened = (
        number and os.open(f"/proc/{os.getpid()}/fd/{number}", os.O_RDWR)
        for number in (files._memory, files._disk)
    )
    return SharedFiles(*opened)


def test_without_a_group_there_is_nobody_to_share_with():
    assert not can_share()


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_what_one_writes_the_other_has(several, tmp_path, place):
    files = open_shared_files(tmp_path)
    one, other = (TensorCache(7, tmp_path, place, shared=f) for f in (files, again(files)))
    maps = [torch.randn(7, 3, 4, 5), torch.randn(7, 3).bfloat16()]
    one.put([1, 4], [m[[1, 4]] for m in maps])
    other.put([0], [m[[0]] for m in maps])
    for cache in (one, other):
        assert cache.has([0, 1, 4])
        assert not cache.has([2])
        assert cache.place == place
        for read, written in zip(cache.get([4, 0]), maps, strict=True):
            assert torch.equal(read, written[[4, 0]])
    assert list(tmp_path.iterdir()) == []  # without a name, so that nothing is left


def test_one_decides_for_all(several, tmp_path):
    files = open_shared_files(tmp_path)
    one, other = (TensorCache(2, tmp_path, shared=f) for f in (files, again(files)))
    one._choose = lambda: None  # no room
    one.put([0], [torch.ones(1, 1)])
    other.put([0], [torch.ones(1, 1)])
    assert one.has_no_room
    assert other.has_no_room
    assert not other.has([0])


def test_an_error_of_one_decides_nothing(several, tmp_path):
    files = open_shared_files(tmp_path)
    without_disk = SharedFiles(os.dup(files._memory), None)
    with pytest.raises(RunError, match="--cache-features disk: no room"):
        TensorCache(2, tmp_path, "disk", shared=without_disk).put([0], [torch.ones(1, 1)])
    cache = TensorCache(2, tmp_path, "memory", shared=files)
    cache.put([0], [torch.ones(1, 1)])
    assert cache.place == "memory"


def test_who_comes_meanwhile_waits_for_the_decision(several, tmp_path):
    files = open_shared_files(tmp_path)
    other, found = again(files), []

    def ask() -> None:
        with other.decided(lambda: "disk") as decision:
            found.append(decision)

    thread = threading.Thread(target=ask)
    with files.decided(lambda: "memory") as (is_first, place):
        assert (is_first, place) == (True, "memory")
        thread.start()
        thread.join(0.2)
        assert found == []
    thread.join()
    assert found == [(False, "memory")]


def _join(rank: int, port: int, folder: str, results: multiprocessing.Queue) -> None:
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    cache = TensorCache(4, Path(folder), "memory", shared=open_shared_files(Path(folder)))
    cache.put([rank], [torch.full((1, 3), float(rank))])
    distributed.barrier()
    results.put([cache.get([0, 1])[0].tolist(), cache.has([0, 1]), cache.has([2])])
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_processes_have_one_cache(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [
        context.Process(target=_join, args=(rank, port, str(tmp_path), results))
        for rank in range(2)
    ]
    for child in children:
        child.start()
    found = [results.get(timeout=300) for _ in children]
    for child in children:
        child.join()
    assert found == [[[[0.0] * 3, [1.0] * 3], True, False]] * 2
