"""Peak memory of the exact metrics for one class of many images.

    python benchmarks/metrics_memory.py --json FILE [--images 10000] [--size 256]

Synthetic maps; every second image has a defect of a tenth of its pixels, far more than the usual.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from mambaad.files import check_writable, write_text
from mambaad.metrics.protocols import ClassMetrics

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def peak_gib() -> float:
    """Return the peak memory of this process so far."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(images: int, size: int) -> dict[str, float]:
    """Add the images one by one, compute the metrics, and measure time and peak memory."""
    rng = np.random.default_rng(0)
    noise = rng.random((64, size, size), dtype=np.float32)
    mask = np.zeros((size, size), dtype=bool)
    mask[: size // 2, : size // 5] = True
    before = peak_gib()
    started = time.perf_counter()
    metrics = ClassMetrics("exact", has_masks=True)
    for i in range(images):
        # Distinct values, so that nothing is saved by ties.
        anomaly_map = np.roll(noise[i % 64], i, axis=1) + np.float32(i * 1e-6)
        defective = i % 2 == 1
        if defective:
            anomaly_map += np.float32(0.3) * mask
        metrics.update(
            anomaly_map, float(anomaly_map.max()), defective, mask if defective else None
        )
    added = time.perf_counter()
    metrics.compute()
    return {
        "images": images,
        "size": size,
        "anomalous_pixels": float(images // 2 * mask.sum()),
        "peak_gib": peak_gib(),
        "peak_before_gib": before,
        "update_s": added - started,
        "compute_s": time.perf_counter() - added,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    check_writable(args.json)
    figures = measure(args.images, args.size)
    write_text(args.json, json.dumps({**figures, "machine": machine()}, indent=2) + "\n")
    print(
        f"{args.images} images of {args.size} px, {figures['anomalous_pixels'] / 1e6:.0f} million "
        f"anomalous pixels: peak {figures['peak_gib']:.2f} GiB, {figures['update_s']:.0f} s to add "
        f"and {figures['compute_s']:.0f} s to compute"
    )


if __name__ == "__main__":
    main()
