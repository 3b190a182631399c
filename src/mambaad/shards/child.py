"""A worker: a process with a model that inspects one shard after the other."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mambaad.artifacts.signatures import required
from mambaad.artifacts.snapshot import opened
from mambaad.errors import MambaADError, RunError
from mambaad.files import printable
from mambaad.piped_process import PipedProcess
from mambaad.process import end_with_parent
from mambaad.shards.inspecting import Task, Waiting, inspect_shard
from mambaad.shards.job import identity_of
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done

LOAD_SECONDS = 600.0
STORE_LIMIT = 600.0
"""Seconds that reading a shard's manifest, or writing its files, may take before that counts as a
worker's death; the time for which it waits for a store counts in addition."""
_GRACE = 1.0
"""Seconds after a limit, for a machine that was suspended meanwhile."""


class Died(Exception):
    """A worker ended, or was ended. ``row``: at the image of that one; None: beside the images."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


@dataclass(frozen=True)
class Loaded:
    """A worker has its model. ``device``: that it computes on."""

    device: str


@dataclass(frozen=True)
class Failed:
    """A worker cannot go on, and nor can another one. ``reason``: a line."""

    reason: str


def run_child(plan: Plan, pipe: Connection) -> None:
    """Load the model, say so, and inspect the shards that come, until None does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    end_with_parent()
    with suppress(OSError):  # of absolute paths and URLs alone there need be no such folder
        os.chdir(plan.base)
    sending = threading.Lock()

    def send(message: Any) -> None:
        with sending:  # threads read ahead, and wait for stores
            pipe.send(message)

    try:
        inspector = _load(plan)
        send(Loaded(inspector.engine.device))
        while (task := pipe.recv()) is not None:
            send(inspect_shard(inspector, plan, task, send))
    except MambaADError as error:
        send(Failed(printable(str(error))))
    except (EOFError, BrokenPipeError):  # the parent is at its end
        return


def _load(plan: Plan) -> Any:
    import torch

    from mambaad.inspection.inspector import Inspector

    torch.set_num_threads(1)  # there is one worker a core
    key = plan.public_key
    with required(Path(key)) if key else nullcontext():
        inspector = Inspector(
            plan.source,
            plan.precision,  # type: ignore[arg-type]  # it checks it
            device=plan.device,
            max_pixels=plan.max_pixels,
        )
    with opened(plan.source) as run:
        found = identity_of(run)
    if found != plan.identity:
        raise RunError(
            f"{plan.source} is not the model that the job began with, or is calibrated otherwise; "
            "put that one back, or begin again in another folder"
        )
    inspector.check_product(plan.product)
    return inspector


class Child(PipedProcess):
    """A worker, as its parent sees it; begun, but not waited for.

    Attributes:
        device: that it computes on, once it is loaded.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            run_child,
            plan,
            "mambaad.inference.torch_engine",
            "mambaad.inspection.inspector",
            "mambaad.shards",
        )
        self._limit = plan.image_seconds
        self.device = ""

    def load(self) -> None:
        """Wait until it has its model.

        Raises:
            RunError: it cannot load the model.
            Died: it ended while it loaded it.
        """
        answer = self._answer(LOAD_SECONDS, None)
        assert isinstance(answer, Loaded)
        self.device = answer.device

    def inspect(self, task: Task) -> Done:
        """Have a shard inspected.

        Raises:
            Died: the process ended, or was ended as an image took too long.
            RunError: it cannot go on.
        """
        row: int | None = None
        pause = 0.0
        try:
            self.pipe.send(task)
        except OSError as error:
            raise Died("the worker ended") from error
        while True:
            limit = STORE_LIMIT if row is None else self._limit
            answer = self._answer(limit, row, pause)
            if isinstance(answer, Done):
                return answer
            pause = answer.seconds if isinstance(answer, Waiting) else 0.0
            if not isinstance(answer, Waiting):
                assert answer is None or isinstance(answer, int)
                row = answer

    def _answer(self, seconds: float, row: int | None, pause: float = 0.0) -> Any:
        try:
            if not (self.pipe.poll(pause + seconds) or self.pipe.poll(_GRACE)):
                raise Died(f"took longer than {seconds:g} s", row)
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise Died("the worker ended", row) from error
        if isinstance(answer, Failed):
            raise RunError(answer.reason)
        return answer
