"""Jobs of `mambaad inspect` whose records nobody has computed, for shards.py to measure the rest.

python benchmarks/shards_without_network.py passing|counted|noise BUNDLE SOURCE OUT

Prints the memory of this process in MiB after each tenth of the shards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Sequence

import numpy as np
import psutil

from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.inspection.quality import Quality
from mambaad.inspection.records import Record
from mambaad.shards.job import read_job
from mambaad.shards.manifest import read_shard
from mambaad.shards.plan import Plan
from mambaad.shards.results import Done, Inspection, write_shard
from mambaad.shards.stores import Place
from mambaad.types import Verdict
from mambaad.workflows.inspect import inspect


def passing(plan: Plan, shard: int) -> Done:
    """Write records of parts that all pass."""
    place, quality = Place(plan.out), Quality(1.0, 100.0, 0.0, 0.0, 1024, 1024)
    values = {"score": 0.1, "percentile": 50.0, "p_value": 0.5, "quality": quality}
    records = [
        Record(
            path=row.path,
            time=plan.time,
            model=plan.identity,
            product="part",
            verdict=Verdict.PASS,
            **values,
        )
        for row in read_shard(place, shard)
    ]
    return write_shard(place, shard, [Inspection(r, 0.1, (1024, 1024)) for r in records], None)


def counted(plan: Plan, shard: int) -> Done:
    """Write nothing."""
    place = Place(plan.out)
    job = read_job(place)
    assert job is not None
    rows = min(job.shard_size, job.rows - shard * job.shard_size)
    return Done(shard=shard, rows=rows, verdicts={"part": {"PASS": rows}})


def noise(plan: Plan, shard: int) -> Done:
    """Write maps of noise, the same of the same shard."""
    place = Place(plan.out)
    with opened(plan.source) as run:
        size = read_config(run).size
    rows = read_shard(place, shard)
    maps = np.random.default_rng(shard).random((len(rows), *size), np.float32)
    inspections = [
        Inspection(Record(path=row.path, score=float(one.max())), float(one.max()), (64, 64), one)
        for row, one in zip(rows, maps, strict=True)
    ]
    return write_shard(place, shard, inspections, size)


WAYS = {f.__name__: f for f in (passing, counted, noise)}


class WithoutNetwork:
    """An executor that does shards in this process."""

    def __init__(self, work: Callable[[Plan, int], Done]) -> None:
        self._work = work
        self.memory: list[float] = []

    def run(self, plan: Plan, shards: Sequence[int]) -> Generator[Done, None, None]:
        """See :meth:`mambaad.shards.plan.Executor.run`."""
        for number, shard in enumerate(shards):
            yield self._work(plan, shard)
            if number % max(len(shards) // 10, 1) == 0:
                self.memory.append(round(psutil.Process().memory_info().rss / 2**20, 1))


def main() -> None:
    way, bundle, source, out = sys.argv[1:]
    executor, time = WithoutNetwork(WAYS[way]), "2026-01-01T00:00:00+00:00"
    inspect(bundle, [source], out, executor=executor, maps=way == "noise", time=time)
    print(json.dumps(executor.memory))


if __name__ == "__main__":
    main()
