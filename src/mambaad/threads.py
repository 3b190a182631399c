"""How many threads compute."""

from __future__ import annotations

import os

import torch


def limit_threads() -> None:
    """Lower PyTorch's number of threads to that of the cores this process may use.

    More of them wait for each other at the end of every operation: four threads on two cores did
    a third less than two.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores and torch.get_num_threads() > cores:
        torch.set_num_threads(cores)
