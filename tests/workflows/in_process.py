"""A training in a process of its own, which can be killed."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.process import process_context
from mambaad.training import loop, loss


class Training:
    """Trains in a process of its own; ``wait_for_step`` returns when a step of it begins."""

    def __init__(self, parts: Path, run: Path, **settings: Any) -> None:
        context = process_context("mambaad.workflows.train")
        self._steps, theirs = context.Pipe(duplex=False)
        arguments = (theirs, parts, run, settings)
        self._process = context.Process(target=_train, args=arguments)
        self._process.start()
        theirs.close()

    def wait_for_step(self, number: int) -> None:
        while self._steps.recv() != number:
            pass

    def kill(self) -> None:
        self._process.kill()
        self._process.join(120)


def _train(steps: Connection, parts: Path, run: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)  # as in the other tests: sums depend on how work is split
    number = 0

    def announced(*args: Any) -> torch.Tensor:
        nonlocal number
        steps.send(number)
        number += 1
        return loss.training_loss(*args)

    loop.training_loss = announced
    mambaad.train(parts, run, **settings)
