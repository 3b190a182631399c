import os

import pytest
import torch

from mambaad.threads import limit_threads


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
