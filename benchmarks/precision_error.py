"""The effect of bfloat16 on real images: maps, scores, metrics and time, against float32.

python benchmarks/precision_error.py RUN DATA --json FILE
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mambaad
from mambaad.data.read_ahead import read_batches
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.files import check_writable, write_text
from mambaad.inference.compute import PRECISIONS
from mambaad.metrics.names import METRICS
from mambaad.progress import show_progress

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def scores_and_maps(run: Path, data: Path, precision: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Observe all test images of the run's classes; return scores, maps and the model's seconds."""
    inspector = mambaad.Inspector(run, precision)
    engine = inspector.engine
    engine.observe(np.zeros((1, *engine.size, 3), np.uint8))  # lays out the weights
    observations, seconds = [], 0.0
    for c in MVTEC.read(data, inspector.products, split="test"):
        for batch in read_batches(c.test, engine.size, 8):
            started = time.perf_counter()
            observations += engine.observe(batch.pixels)
            seconds += time.perf_counter() - started
    scores = np.asarray([observation.score for observation in observations])
    return scores, np.stack([observation.anomaly_map for observation in observations]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    given = {p: scores_and_maps(arguments.run, arguments.data, p) for p in PRECISIONS}
    (scores, maps, seconds), (half_scores, half_maps, half_seconds) = given.values()
    means = {
        p: dict(mambaad.evaluate(arguments.run, arguments.data, precision=p).mean)
        for p in PRECISIONS
    }
    results = {
        "images": len(scores),
        "score_relative_error_median": float(np.median(abs(half_scores - scores) / scores)),
        "score_relative_error_max": float(np.max(abs(half_scores - scores) / scores)),
        "map_absolute_error_mean": float(np.mean(abs(half_maps - maps))),
        "map_absolute_error_max": float(np.max(abs(half_maps - maps))),
        "map_mean": float(np.mean(maps)),
        "seconds": seconds,
        "bfloat16_seconds": half_seconds,
        "metrics": means,
        "largest_metric_difference": max(
            abs(means["bfloat16"][m] - means["float32"][m]) for m in METRICS
        ),
    }
    for name, value in results.items():
        if not isinstance(value, dict):
            print(f"{name:28} {value:.4g}")
    write_text(arguments.json, json.dumps({**results, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"precision_error: {error}")
