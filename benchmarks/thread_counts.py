"""Throughput with 1, 2 and 4 threads requested, whatever the number of cores.

    python benchmarks/thread_counts.py [--json FILE] [--rounds N]

Inference of one image, and forward and backward of the lite variant (batch 4), each thread count
in a process of its own, all of them once a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from mambaad.files import check_writable, write_text
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
from mambaad.process import keep_freed_memory, limit_threads
from mambaad.progress import show_progress
from mambaad.recipes import VARIANTS
from mambaad.training.loss import cosine_loss

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from timing import medians, seconds

COUNTS = (1, 2, 4)


def measure() -> dict[str, float]:
    """Measure images a second in this process; training is forward and backward."""
    # As train() and an Inspector do.
    keep_freed_memory()
    limit_threads()
    image = torch.randn(1, 3, 256, 256)
    model = pack(build_model("resnet34", "random").eval())
    forward = medians({"forward": lambda: model(image)}, 7)["forward"]
    small: Any = dict(VARIANTS["lite"])
    trained = build_model("resnet18", "random", **small).train()
    images = torch.randn(4, 3, 256, 256)
    step = lambda: cosine_loss(*trained(images)[:2]).mean().backward()  # noqa: E731
    step()
    return {
        "inference": 1 / forward,
        "training": 4 / statistics.median(seconds(step) for _ in range(5)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="measure with this many, in this process")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
        print(json.dumps(measure()))
        return
    if arguments.json:
        check_writable(arguments.json)
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in COUNTS}
    for _ in range(arguments.rounds):
        for count in COUNTS:
            command = [sys.executable, __file__, "--threads", str(count)]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[count].append(json.loads(process.stdout))
    results = {
        count: {name: statistics.median(run[name] for run in rows) for name in rows[0]}
        for count, rows in runs.items()
    }
    print("threads   inference images/s   training images/s")
    for count, row in results.items():
        print(f"{count:7}   {row['inference']:18.2f}   {row['training']:17.2f}")
    if arguments.json:
        record = {"images_per_s": results, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    show_progress()
    main()
