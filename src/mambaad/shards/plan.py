"""What workers do, and how a job has them do it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mambaad.shards.results import Done
from mambaad.shards.stores import STORE_SECONDS


@dataclass(frozen=True)
class Plan:
    """What a worker loads, reads and writes.

    ``source``: the bundle or run, on each machine that works. ``out``: the job's folder or URL.
    ``identity``: what the model must be (:func:`mambaad.shards.job.identity_of`).
    ``time``: that records carry. ``image_seconds``: how long one image may take; longer is as a
    worker that died.
    ``base``: the folder from which relative paths lead. ``public_key``: of who must have signed it.
    ``store_seconds``: how long a worker waits for a store that fails, before the job ends.
    """

    source: str
    out: str
    identity: str
    time: str
    base: str
    product: str | None = None
    precision: str = "float32"
    device: str = "auto"
    max_pixels: int | None = None
    maps: bool = False
    image_seconds: float = 120.0
    public_key: str | None = None
    store_seconds: float = STORE_SECONDS


class Executor(Protocol):
    """What has workers inspect shards.

    Whatever dies, it must see to it that each shard is inspected to its marker; if one is
    inspected twice, no harm is done.
    """

    def run(self, plan: Plan, shards: Sequence[int]) -> Generator[Done, None, None]:
        """Have shards inspected, begun in their order; yields each when it has its marker.

        Closing the iterator ends the workers.

        Raises:
            RunError: they cannot go on.
        """
