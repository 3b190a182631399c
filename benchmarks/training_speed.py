"""Time and memory of a training step (forward, backward, update), each variant on its own.

    python benchmarks/training_speed.py [--threads N] [--rounds N] [--quiet]

ResNet-18, 256 px, batch 16, the released recipe's optimiser and clipping, the encoder's part
included. Prints a table, or with --quiet the same as JSON. Peak memory is that of the process,
data and Python included (Linux only, else null).
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

from mambaad.models.build import build_model
from mambaad.process import keep_freed_memory
from mambaad.progress import show_progress
from mambaad.recipes import VARIANTS
from mambaad.training.loss import squared_error_loss

sys.path.insert(0, str(Path(__file__).parent))
from timing import seconds

BATCH, SIZE = 16, 256


def measure(variant: str, rounds: int) -> dict[str, float | None]:
    """Measure median seconds and peak memory in this process."""
    keep_freed_memory()
    settings: Any = dict(VARIANTS[variant])
    model = build_model("resnet18", "random", **settings).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4, fused=True)
    images = torch.randn(BATCH, 3, SIZE, SIZE)

    def step() -> None:
        optimizer.zero_grad()
        squared_error_loss(*model(images)[:2]).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()

    step()
    step()
    value = statistics.median(seconds(step) for _ in range(rounds))
    status = Path("/proc/self/status")
    peak = status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else None
    name = "train" if variant == "base" else f"train_{variant}"
    return {
        f"{name}_s_per_image": value / BATCH,
        f"{name}_s_per_step": value,
        f"{name}_peak_mib": None if peak is None else int(peak) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quiet", action="store_true", help="print JSON only")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="measure this variant only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, arguments.rounds)))
        return
    results: dict[str, float | None] = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--variant", variant]
        command += ["--threads", str(arguments.threads), "--rounds", str(arguments.rounds)]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results |= json.loads(process.stdout)
    if arguments.quiet:
        print(json.dumps(results))
        return
    for name, value in results.items():
        print(f"{name:28} " + ("-" if value is None else f"{value:10.4g}"))


if __name__ == "__main__":
    show_progress()
    main()
