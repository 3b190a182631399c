"""Time of loading a model, and of verifying its files on the way; and of a commit in training.

    python benchmarks/run_files.py RUN --json run_files.json

Loading is measured in processes of their own, of which the medians are given, after PyTorch has
been imported. Seconds of processor time, on one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 7
LOAD = """
import sys, time
import mambaad
import mambaad.inference.torch_engine
import mambaad.inspection.inspector
import torch
torch.set_num_threads(1)
began = time.process_time()
mambaad.Inspector(sys.argv[1], device="cpu")
print(time.process_time() - began)
"""


def loading(run: Path) -> float:
    """The median time of making an inspector."""
    command = [sys.executable, "-c", LOAD, str(run)]
    times = []
    for _ in range(ROUNDS):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times.append(float(done.stdout.split()[-1]))
    return statistics.median(times)


def verifying(run: Path) -> float:
    """The median time of the digests of all that loading reads."""
    from mambaad.artifacts.snapshot import opened

    with opened(run) as trained:
        contents = [trained.read(name) for name in trained.names()]
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for content in contents:
            hashlib.sha256(content).hexdigest()
        times.append(time.process_time() - began)
    return statistics.median(times)


def committing(run: Path) -> dict[str, float]:
    """The median time of a commit of weights and a checkpoint of random values, and its size."""
    import torch

    from mambaad.artifacts.generations import commit
    from mambaad.artifacts.manifest import CHECKPOINT, WEIGHTS
    from mambaad.artifacts.snapshot import opened
    from mambaad.config import TrainConfig
    from mambaad.inference.weights import load_model, weights_content
    from mambaad.training.checkpoint import Position, checkpoint_content
    from mambaad.training.optimizer import make_optimizer

    torch.set_num_threads(1)
    with opened(run) as trained:
        model = load_model(trained)
    optimizer = make_optimizer(model, TrainConfig(), fused=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    times, size = [], 0
    with tempfile.TemporaryDirectory(dir=run.parent) as folder:
        for number in range(ROUNDS):
            with torch.no_grad():
                next(p for p in model.parameters() if p.requires_grad).add_(1)
            began = time.process_time()
            files = {
                WEIGHTS: weights_content(model),
                CHECKPOINT: checkpoint_content(model, optimizer, Position(step=number)),
            }
            commit(Path(folder), files)
            times.append(time.process_time() - began)
        size = sum(len(part) for content in files.values() for part in content)
    return {"seconds": statistics.median(times), "mib": size / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "loading": loading(arguments.run),
        "verifying": verifying(arguments.run),
        "commit": committing(arguments.run),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
