"""Training and inspecting beside other programs: how OpenMP's idle threads wait, and how many.

    python benchmarks/busy_machine.py [--json FILE] [--rounds N] [--busy N ...]

Each way of waiting has a process of its own, which computes in turn with the others while the
rest sleep: first alone, then beside 1 and beside as many busy programs as there are cores (each an
endless loop). A round has all of them once. Rates are images a second: medians, and the best
round, which is the nearest to a quiet machine where others use it too. Fair is the share of the
cores that the scheduler owes a program with as many threads as cores: cores / (cores + busy).

Targets: alone within 3 % of spinning; beside others at least half of the fair share of the rate
that spinning has alone. Exit code 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# What is set before PyTorch is loaded, by name.
WAYS: dict[str, dict[str, str]] = {
    "spinning (OpenMP's default)": {},
    "passive, as mambaad": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"},
    "passive, no spinning at all": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "passive, ten times as long": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"},
    "one thread (--threads 1)": {"OMP_NUM_THREADS": "1"},
}
DEFAULT, OURS = list(WAYS)[:2]
SECONDS = 2.0
"""How long each measurement takes at least."""
SLOWER, OF_FAIR = 0.03, 0.5  # the targets


def work() -> None:
    """In a process of its own: for each line that comes in, measure, and print what was found."""
    import torch

    from mambaad.inference.packed.pack import pack
    from mambaad.models.build import build_model
    from mambaad.process import keep_freed_memory, limit_threads
    from mambaad.recipes import VARIANTS
    from mambaad.training.loss import cosine_loss

    keep_freed_memory()
    limit_threads()
    small: Any = dict(VARIANTS["lite"])
    trained = build_model("resnet18", "random", **small).train()
    packed = pack(build_model("resnet18", "random", **small).eval())
    image, images = torch.randn(1, 3, 256, 256), torch.randn(4, 3, 256, 256)

    def step() -> None:
        cosine_loss(*trained(images)).mean().backward()

    @torch.inference_mode()
    def inspect() -> None:
        packed(image)

    actions = {"training": (step, 4), "inspecting": (inspect, 1)}
    for action, _ in actions.values():
        action()
        action()
    print("ready", flush=True)
    for line in sys.stdin:
        action, count = actions[line.strip()]
        began, processor, done = time.perf_counter(), time.process_time(), 0
        while (took := time.perf_counter() - began) < SECONDS:
            action()
            done += count
        used = (time.process_time() - processor) / took
        print(json.dumps({"rate": done / took, "cores_used": used}), flush=True)


def start(way: str) -> subprocess.Popen[str]:
    """Start the process of one way of waiting."""
    chosen = ("OMP_", "GOMP_", "KMP_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
    command = [sys.executable, __file__, "--work"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**clean, **WAYS[way]}, **pipes)
    assert process.stdout
    assert process.stdout.readline() == "ready\n", way
    return process


def ask(process: subprocess.Popen[str], task: str) -> dict[str, float]:
    """Have a process measure a task."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{task}\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def main() -> int:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", type=int, nargs="+", default=[1, cores], help="busy programs")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return 0
    workers = {way: start(way) for way in WAYS}
    found: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = {}
    loads = []
    try:
        for number in range(arguments.rounds):
            for busy in (0, *arguments.busy):
                loads.append(os.getloadavg()[0])
                endless = [
                    subprocess.Popen([sys.executable, "-c", "while True: pass"])
                    for _ in range(busy)
                ]
                try:
                    # In turns, from another one each round.
                    ways = list(WAYS)[number % len(WAYS) :] + list(WAYS)[: number % len(WAYS)]
                    for task in ("training", "inspecting"):
                        for way in ways:
                            tasks = found.setdefault(f"{busy} busy", {}).setdefault(task, {})
                            tasks.setdefault(way, []).append(ask(workers[way], task))
                finally:
                    for process in endless:
                        process.kill()
                        process.wait()
            print(f"round {number + 1}/{arguments.rounds}", file=sys.stderr, flush=True)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()
    return report(found, loads, cores, arguments.json)


def report(found: Any, loads: list[float], cores: int, file: Path | None) -> int:
    """Print the figures, write them, and compare them with the targets."""
    figures: dict[str, Any] = {}
    missed = []
    for condition, tasks in found.items():
        busy = int(condition.split()[0])
        for task, ways in tasks.items():
            print(f"\n{task}, {condition}: images a second (median, best), cores used")
            alone = statistics.median(r["rate"] for r in found["0 busy"][task][DEFAULT])
            for way, runs in ways.items():
                rates = [run["rate"] for run in runs]
                # In pairs of one round each: what others do then is nearly the same for both.
                pairs = zip(rates, (r["rate"] for r in ways[DEFAULT]), strict=True)
                entry = {
                    "median": statistics.median(rates),
                    "best": max(rates),
                    "of_spinning": statistics.median(a / b for a, b in pairs),
                    "of_spinning_alone": statistics.median(rates) / alone,
                    "cores_used": statistics.median(run["cores_used"] for run in runs),
                }
                figures.setdefault(task, {}).setdefault(condition, {})[way] = entry
                print(
                    f"  {way:30}{entry['median']:8.2f}{entry['best']:8.2f}"
                    f"{entry['cores_used']:6.2f}  {entry['of_spinning']:.2f} of spinning, "
                    f"{entry['of_spinning_alone']:.2f} of spinning alone"
                )
            ours, fair = figures[task][condition][OURS], cores / (cores + busy)
            if busy == 0 and ours["of_spinning"] < 1 - SLOWER:
                missed.append(f"{task} alone: {ours['of_spinning']:.2f} of spinning")
            if busy and ours["of_spinning_alone"] < OF_FAIR * fair:
                missed.append(f"{task}, {condition}: {ours['of_spinning_alone']:.2f}")
    load = {"lowest": min(loads), "median": statistics.median(loads), "highest": max(loads)}
    print(f"\nload of the machine (1 minute) as the rounds began: {load}")
    print("targets missed: " + ("; ".join(missed) or "none"))
    if file:
        sys.path.insert(0, str(Path(__file__).parent))
        from machine import machine

        from mambaad.files import write_text

        content = {"figures": figures, "load": load, "missed": missed, "machine": machine()}
        write_text(file, json.dumps(content, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
