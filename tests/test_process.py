import os
import subprocess
import sys

import pytest
import torch

from mambaad.process import limit_threads

PROGRAM = """
import resource, sys
import torch
from mambaad.process import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit(3)
torch.set_num_threads(1)
for _ in range(20):  # malloc needs a few until it has joined what is free
    torch.ones(16, 2**20)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(16, 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    command = [sys.executable, "-c", PROGRAM, how]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode == 3:
        pytest.skip("not the C library of GNU")
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_used_again_without_asking_the_kernel():
    assert 10 * page_faults("kept") < page_faults("returned")


@pytest.fixture(autouse=True)
def _restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    for asked, found in ((1, 1), (2, 2), (3, 2)):
        torch.set_num_threads(asked)
        limit_threads()
        assert torch.get_num_threads() == found
