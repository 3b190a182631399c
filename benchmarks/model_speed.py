"""Time and memory of the encoder, the whole model, the scan and a training step, in one run.

    python benchmarks/model_speed.py [--json FILE] [--threads N] [--rounds N]

Medians over rounds in which everything is timed once, so that what slows the machine down slows
all of it down. Random weights: no time depends on them. Memory is the peak of a process of its own
that builds the model and takes one image.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mambaad.files import check_writable, write_text
from mambaad.loss import squared_error_loss
from mambaad.models import build_model, hss
from mambaad.ops import directional_orders, selective_scan
from mambaad.ops.reference import selective_scan_reference

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

SIZE, LARGE_SIZE = 256, 1024
TRAIN_BATCH = 8
STAGES = ((64, 128, 3), (32, 256, 6), (16, 512, 4), (8, 1024, 3))  # side, D, HSS blocks
STATES, DIRECTIONS = 16, 8

ONE_IMAGE = """
import sys, torch
from pathlib import Path
from mambaad.models import build_model
torch.set_num_threads(int(sys.argv[2]))
model = build_model("resnet34", "random").eval()
with torch.inference_mode():
    model(torch.randn(1, 3, int(sys.argv[1]), int(sys.argv[1])))
# Not ru_maxrss: a new process begins with that of the one that started it.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


def seconds(action: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def peak_mib(size: int, threads: int) -> float:
    """Peak memory of a process that takes one image of this size (Linux only, else NaN)."""
    if sys.platform != "linux":
        return float("nan")
    command = [sys.executable, "-c", ONE_IMAGE, str(size), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def scan_inputs(side: int, channels: int, directions: int, states: int) -> tuple[Any, ...]:
    """Random inputs of a scan over a square map, like those of one of the model's stages."""
    torch.manual_seed(0)
    rank, length = channels // 32, side * side
    order = directional_orders("hilbert", directions, side, side)
    return (
        torch.randn(1, length, channels),
        torch.randn(1, length, directions * (rank + 2 * states)),
        torch.randn(directions, channels, rank) * 0.1,
        torch.rand(directions, channels) - 4,
        -torch.rand(directions, channels, states) * 16,
        torch.ones(directions, channels),
        torch.tensor(order),
    )


def measure(rounds: int) -> dict[str, float]:
    """All figures, medians over the rounds."""
    model = build_model("resnet34", "random").eval()
    image = torch.randn(1, 3, SIZE, SIZE)
    trained = build_model("resnet18", "random").train()
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], 1e-4)
    images = torch.randn(TRAIN_BATCH, 3, SIZE, SIZE)
    large_image = torch.randn(1, 3, LARGE_SIZE, LARGE_SIZE)
    scans = {side: scan_inputs(side, width, DIRECTIONS, STATES) for side, width, _ in STAGES}
    scan = scans[64]

    def train_step() -> None:
        optimizer.zero_grad()
        squared_error_loss(*trained(images)).backward()
        optimizer.step()

    @torch.inference_mode()
    def timed(action: Callable[[], Any]) -> float:
        return seconds(action)

    actions: dict[str, Callable[[], float]] = {
        "encoder": lambda: timed(lambda: model.encoder(image)),
        "forward": lambda: timed(lambda: model(image)),
        **{
            f"scan{side}": functools.partial(timed, functools.partial(selective_scan, *inputs))
            for side, inputs in scans.items()
        },
        "large": lambda: timed(lambda: model(large_image)),
        "train": lambda: seconds(train_step),
    }
    for action in actions.values():  # warm up
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for done in range(rounds):
        for name, action in actions.items():
            # The quick ones several times: a step of training lasts as long as a hundred.
            times[name] += [action() for _ in range(1 if name in ("train", "large") else 5)]
        print(f"\rround {done + 1}/{rounds}", end="", file=sys.stderr, flush=True)
    print("\rsequential reference scan ...", end="", file=sys.stderr, flush=True)
    reference = timed(lambda: selective_scan_reference(*scan))
    hss.selective_scan = selective_scan_reference
    reference_model = timed(lambda: model(image))
    hss.selective_scan = selective_scan
    threads = torch.get_num_threads()
    print("\r" + " " * 40, end="\r", file=sys.stderr)
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "encoder_ms": 1000 * median["encoder"],
        "forward_ms": 1000 * median["forward"],
        "forward_over_encoder": median["forward"] / median["encoder"],
        "speedup_over_reference_model": reference_model / median["forward"],
        "forward_1024_ms": 1000 * median["large"],
        "cost_per_pixel_1024_over_256": median["large"]
        / median["forward"]
        / (LARGE_SIZE / SIZE) ** 2,
        "peak_mib_256": peak_mib(SIZE, threads),
        "peak_mib_1024": peak_mib(LARGE_SIZE, threads),
        "scan_ms": 1000 * median["scan64"],
        "scan_reference_ms": 1000 * reference,
        "scan_speedup_over_reference": reference / median["scan64"],
        "state_updates_per_s": sum(
            blocks * side**2 * width * DIRECTIONS * STATES for side, width, blocks in STAGES
        )
        / sum(blocks * median[f"scan{side}"] for side, _, blocks in STAGES),
        "train_s_per_image": median["train"] / TRAIN_BATCH,
        "train_s_per_step": median["train"],
    }


def main() -> None:
    """Measure, print a table, and write it as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.rounds)
    setup = {
        "size": SIZE,
        "encoder": "resnet34 (encoder_ms, forward_ms; batch 1), resnet18 (train)",
        "train_batch": TRAIN_BATCH,
        "scan": "L 4096, D 128, K 8, N 16, batch 1",
        "rounds": arguments.rounds,
    }
    for name, value in figures.items():
        print(f"{name:28} {value:12.4g}")
    if arguments.json:
        record = {**figures, "setup": setup, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
