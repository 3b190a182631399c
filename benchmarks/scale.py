"""Simulates the inspection of 100 M images on 1,000 cores, from what ``mambaad plan`` measured.

A discrete-event simulation (SimPy) of what ``mambaad inspect`` does: workers of one core take the
next shard of images, read, inspect and write it. Some machines are slow, processes and machines
fail, and their shards are done again by others. Same seed, same figures.

    mambaad plan BUNDLE --sample IMAGES --images 100000000 --json plan.json
    python benchmarks/scale.py plan.json --json FILE --picture FILE
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simpy

POINTS = 200  # of a curve


@dataclass(frozen=True)
class Cluster:
    """The job and the machines; times in seconds. What is not measured is assumed, and said.

    ``slow``: share of machines that take ``slow_by`` times as long. ``process_mtbf``,
    ``machine_mtbf``: mean time between failures of one process or machine; ``machine_back``: until
    a machine that failed works again. ``store_rate``: megabytes a second that the store gives to
    all; None: as many as they ask for.
    """

    images: int = 100_000_000
    cores: int = 1000
    shard: int = 256
    cores_a_machine: int = 16
    slow: float = 0.0
    slow_by: float = 2.0
    process_mtbf: float = math.inf
    machine_mtbf: float = math.inf
    machine_back: float = 600.0
    store_rate: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job; ``efficiency``: the least possible core-hours over those it took.

    ``tail``: hours from the first core without work to the end. ``lost``: core-hours of work that
    failures undid, and of waiting for what failed. ``waited``: core-hours of waiting for the store.
    ``again``: shards that were begun more than once. ``done``: images at :data:`POINTS` times.
    """

    hours: float
    efficiency: float
    tail: float
    lost: float
    waited: float
    again: int
    failures: int
    done: list[tuple[float, int]]


class _Job:
    """The shards that are left, and what happens to them."""

    def __init__(self, env: simpy.Environment, cluster: Cluster, rates: Mapping[str, Any]) -> None:
        self.env = env
        self.cluster = cluster
        self.rates = rates
        count = -(-cluster.images // cluster.shard)
        self.left = deque(range(count))
        self.open = count
        self.changed = env.event()
        self.first_idle: float | None = None
        self.lost = self.waited = 0.0
        self.again = self.failures = 0
        self.times: list[float] = []
        # As many shards are read at a time as the store can give at the rate measured here.
        self.store: simpy.Resource | None = None
        if cluster.store_rate:
            stream = rates["megabytes"] / rates["reading"]
            self.store = simpy.Resource(env, max(1, round(cluster.store_rate / stream)))

    def finish(self) -> None:
        self.open -= 1
        self.times.append(self.env.now)
        if not self.open:
            self.changed.succeed()

    def give_back(self, shard: int) -> None:
        self.left.appendleft(shard)
        self.again += 1
        changed, self.changed = self.changed, self.env.event()
        changed.succeed()


def simulate(rates: Mapping[str, Any], cluster: Cluster, seed: int) -> Outcome:
    """Simulate a job to its end.

    Args:
        rates: ``rates`` of the file that ``mambaad plan --json`` writes, measured on a CPU.
        cluster: the machines.
        seed: of everything random.
    """
    env, random = simpy.Environment(), np.random.default_rng(seed)
    job = _Job(env, cluster, rates)
    machines: list[list[simpy.Process]] = []
    speeds = random.random(-(-cluster.cores // cluster.cores_a_machine)) < cluster.slow
    for first in range(0, cluster.cores, cluster.cores_a_machine):
        factor = cluster.slow_by if speeds[first // cluster.cores_a_machine] else 1.0
        here = min(cluster.cores_a_machine, cluster.cores - first)
        machines.append([env.process(_worker(job, factor, random)) for _ in range(here)])
    for workers in machines:
        if math.isfinite(cluster.machine_mtbf):
            env.process(_failures(job, workers, cluster.machine_mtbf, cluster.machine_back, random))
        if math.isfinite(cluster.process_mtbf):
            for worker in workers:
                env.process(_failures(job, [worker], cluster.process_mtbf, 0.0, random))
    env.run(env.all_of([worker for workers in machines for worker in workers]))
    end = job.times[-1]
    least = cluster.images * _seconds(rates)
    marks = np.linspace(0, end, POINTS)
    counts = np.searchsorted(job.times, marks, side="right") * cluster.shard
    return Outcome(
        hours=end / 3600,
        efficiency=least / (end * cluster.cores),
        tail=(end - (job.first_idle if job.first_idle is not None else end)) / 3600,
        lost=job.lost / 3600,
        waited=job.waited / 3600,
        again=job.again,
        failures=job.failures,
        done=[
            (round(t / 3600, 4), min(int(n), cluster.images))
            for t, n in zip(marks, counts, strict=True)
        ],
    )


def _seconds(rates: Mapping[str, Any]) -> float:
    """Seconds of a core an image."""
    return sum(rates[step] for step in ("reading", "decoding", "inference", "writing"))


def _worker(job: _Job, factor: float, random: np.random.Generator) -> Iterator[Any]:
    """One process on one core: after a failure it, or the one in its place, begins anew."""
    env, size, rates = job.env, job.cluster.shard, job.rates
    reading = size * rates["reading"]
    computing = size * (_seconds(rates) - rates["reading"])
    shard, since, back = None, 0.0, 0.0
    while job.open:
        try:
            since = env.now
            yield env.timeout(back + rates["start"] * factor)
            job.lost += back
            back = 0.0
            while job.open:
                if not job.left:
                    since = env.now
                    if job.first_idle is None:
                        job.first_idle = since
                    yield job.changed
                    continue
                shard, since = job.left.popleft(), env.now
                computed = random.normal(computing, math.sqrt(size) * rates["spread"])
                if job.store is None:
                    yield env.timeout(reading + max(computed, 0.0) * factor)
                else:
                    with job.store.request() as turn:
                        yield turn
                        job.waited += env.now - since
                        yield env.timeout(reading)
                    yield env.timeout(max(computed, 0.0) * factor)
                shard = None
                job.finish()
        except simpy.Interrupt as failure:
            job.lost += env.now - since
            back = failure.cause
            if shard is not None:
                job.give_back(shard)
                shard = None


def _failures(
    job: _Job,
    victims: Sequence[simpy.Process],
    mean: float,
    back: float,
    random: np.random.Generator,
) -> Iterator[Any]:
    while job.open:
        yield job.env.timeout(random.exponential(mean))
        alive = [victim for victim in victims if victim.is_alive]
        if job.open and alive:
            job.failures += 1
            for victim in alive:
                victim.interrupt(back)


def scenarios(base: Cluster, rates: Mapping[str, Any]) -> dict[str, Cluster]:
    """The cases that are compared: each adds to the one before it, but for the last two."""
    slow = replace(base, slow=0.05)
    failing = replace(slow, process_mtbf=100 * 3600.0, machine_mtbf=500 * 3600.0)
    demand = base.cores * rates["megabytes"] / _seconds(rates)
    return {
        "all alike": base,
        "5 % of the machines at half speed": slow,
        "and failures": failing,
        "and shards of 25,600": replace(failing, shard=100 * base.shard),
        "and a store at 80 % of the demand": replace(failing, store_rate=0.8 * demand),
    }


def draw(outcomes: Mapping[str, Outcome], file: Path) -> None:
    """Draw the images done over time, the whole and the last tenth."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for name, outcome in outcomes.items():
        hours, done = np.array(outcome.done).T
        for axis in axes:
            axis.plot(hours, done / 1e6, label=name)
    total = max(outcome.done[-1][1] for outcome in outcomes.values()) / 1e6
    axes[1].set_ylim(0.9 * total, 1.005 * total)
    first = min(outcome.hours for outcome in outcomes.values())
    axes[1].set_xlim(0.88 * first, None)
    for axis, title in zip(axes, ("images done, millions", "the last tenth"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("hours")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path, help="what mambaad plan --json wrote")
    parser.add_argument("--images", type=int, default=Cluster.images)
    parser.add_argument("--cores", type=int, default=Cluster.cores)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    rates = json.loads(given.plan.read_text())["rates"]
    if rates["device"] != "cpu":
        parser.error(f"{given.plan} was measured on {rates['device']}; give one of --device cpu")
    clusters = scenarios(Cluster(images=given.images, cores=given.cores), rates)
    outcomes = {name: simulate(rates, cluster, given.seed) for name, cluster in clusters.items()}
    print("| case | hours | efficiency | tail, min | lost, core-h | waited, core-h | again |")
    print("|---|---|---|---|---|---|---|")
    for name, o in outcomes.items():
        print(
            f"| {name} | {o.hours:.2f} | {100 * o.efficiency:.1f} % | {60 * o.tail:.1f} | "
            f"{o.lost:.1f} | {o.waited:.0f} | {o.again} |"
        )
    if given.json:
        found = {
            name: {"cluster": asdict(clusters[name]), "outcome": asdict(outcome)}
            for name, outcome in outcomes.items()
        }
        for case in found.values():  # JSON has no infinity
            case["cluster"] = {k: v if v != math.inf else None for k, v in case["cluster"].items()}
        content = {"rates": rates, "seed": given.seed, "cases": found}
        given.json.write_text(json.dumps(content) + "\n")
    if given.picture:
        draw(outcomes, given.picture)


if __name__ == "__main__":
    main()
