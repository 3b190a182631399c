"""The time of one image by kind of operation, in fusion and decoder.

    python benchmarks/model_profile.py [--json FILE] [--threads N]

The model as it trains ("before"), as an Inspector holds it ("after") and that in bfloat16; medians
over passes, by torch's profiler, ResNet-34, 256 px, batch 1. "Norms": with the SiLU after instance
norms, where one kernel does both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from mambaad.files import check_writable, write_text
from mambaad.inference.packed import lss as packed_lss
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
from mambaad.ops.instance_norm import instance_norm_silu_

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

PASSES = 15
KINDS = {
    "scan": ("mambaad::",),
    "products and convolutions": ("convolution", "conv2d", "addmm", "mm", "linear"),
    "norms": ("norm",),
    "activations": ("silu", "clamp_min", "relu"),
    "gate, residual sums": ("aten::mul", "aten::add"),
    "copies, concatenation": ("copy", "cat"),
}


def kind_of(name: str) -> str:
    """Find the first kind with a pattern that occurs in the operation's name."""
    return next(
        (kind for kind, patterns in KINDS.items() if any(p in name for p in patterns)), "other"
    )


def norm_and_activate(x: torch.Tensor) -> torch.Tensor:
    """Run the fused kernel, which is not a torch operator, under a name that the profiler sees."""
    with torch.profiler.record_function("instance_norm_silu"):
        return instance_norm_silu_(x)


@torch.inference_mode()
def profile(model: Any) -> dict[str, float]:
    """Measure milliseconds by kind of operation, with the encoder as one kind."""
    image = torch.randn(1, 3, 256, 256)
    passes: list[dict[str, float]] = []
    for i in range(PASSES + 3):
        row = dict.fromkeys(("encoder", *KINDS, "other"), 0.0)
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as encoder:
            features = model.encoder(image)
        with torch.profiler.profile(activities=activities) as rest:
            model.reconstruct(features)
        row["encoder"] = sum(event.self_cpu_time_total for event in encoder.key_averages()) / 1000
        for event in rest.key_averages():
            row[kind_of(event.key)] += event.self_cpu_time_total / 1000
        if i >= 3:
            passes.append(row)
    return {kind: statistics.median(row[kind] for row in passes) for kind in passes[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    packed_lss.instance_norm_silu_ = norm_and_activate
    results = {
        "before": profile(build_model("resnet34", "random").eval()),
        "after": profile(pack(build_model("resnet34", "random").eval())),
        "bfloat16": profile(pack(build_model("resnet34", "random").eval(), "bfloat16")),
    }
    totals = {column: sum(rows.values()) for column, rows in results.items()}
    print(f"{'ms':28}" + "".join(f"{column:>18}" for column in results))
    for kind in results["before"]:
        cells = (f"{r[kind]:9.1f} ({r[kind] / totals[c]:4.0%})" for c, r in results.items())
        print(f"{kind:28}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'sum':28}" + "".join(f"{total:>11.1f}       " for total in totals.values()))
    if arguments.json:
        record = {"milliseconds": results, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
