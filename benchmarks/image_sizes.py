"""Time against image size: the encoder, the whole model and the lite variant, batch 1.

python benchmarks/image_sizes.py [--json FILE] [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import torch

from mambaad.files import check_writable, write_text
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
from mambaad.recipes import VARIANTS

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from timing import medians

SIZES = (256, 320, 384, 512, 640, 768, 1024)


def measure(size: int, rounds: int) -> dict[str, float]:
    """Measure milliseconds of an image of size x size."""
    small: Any = dict(VARIANTS["lite"])
    image = torch.randn(1, 3, size, size)
    networks = {
        "encoder": build_model("resnet34", "random").encoder,
        "forward": pack(build_model("resnet34", "random").eval()),
        "lite": pack(build_model("resnet18", "random", **small).eval()),
    }
    actions = {name: functools.partial(network, image) for name, network in networks.items()}
    return {name: 1000 * value for name, value in medians(actions, rounds).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.json:
        check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    results = {size: measure(size, arguments.rounds) for size in SIZES}
    least = results[SIZES[0]]
    print("size   encoder ms   forward ms      lite ms   forward, per pixel of 256")
    for size, row in results.items():
        share = row["forward"] / least["forward"] / (size / SIZES[0]) ** 2
        print(
            f"{size:4}   {row['encoder']:10.1f}   {row['forward']:10.1f}   {row['lite']:10.1f}   "
            f"{share:.2f}"
        )
    if arguments.json:
        record = {"milliseconds": results, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
