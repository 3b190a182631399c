"""Cuts of the decoder: size, time and metrics of each.

    python benchmarks/variants.py DATA --encoder-weights FILE --out DIR --json FILE [--epochs N]

Each cut is trained like the others (recipe fast, few epochs, ResNet-18) and evaluated (protocol
``exact``); its forward, and its forward and backward in training, are timed with nothing else
running. Run the same command again to train missing cuts; it times all of them anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.files import check_writable, write_text
from mambaad.inference.packed.pack import pack
from mambaad.models.build import build_model
from mambaad.process import keep_freed_memory
from mambaad.progress import show_progress
from mambaad.recipes import VARIANTS
from mambaad.training.loss import cosine_loss

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine
from timing import medians, seconds

LITE = dict(VARIANTS["lite"])
CUTS: dict[str, dict[str, Any]] = {
    "lite": LITE,
    "local branches 5 and 7": {**LITE, "kernels": (5, 7)},
    "depths 1, 2, 2, 1": {**LITE, "depths": (1, 2, 2, 1)},
    "no local branch": {**LITE, "kernels": ()},
    "two directions": {**LITE, "directions": 2},
    "four states": {**LITE, "states": 4},
    "inner width 2C": {**LITE, "expand": 2},
    "depths 1, 2, 2, 1; two directions": {**LITE, "depths": (1, 2, 2, 1), "directions": 2},
    "depths 1, 2, 2, 1; two directions; no local branch": {
        **LITE,
        "depths": (1, 2, 2, 1),
        "directions": 2,
        "kernels": (),
    },
}


def profile_cut(settings: dict[str, Any]) -> dict[str, float]:
    """Count parameters and time this process: batch 1 forward, batch 16 training step."""
    model = build_model("resnet18", "random", **settings)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    images = torch.randn(16, 3, 256, 256)
    step = lambda: cosine_loss(*model.train()(images)[:2]).mean().backward()  # noqa: E731
    step()
    train = statistics.median(seconds(step) for _ in range(3)) / 16
    stock = build_model("resnet18", "random").encoder
    ready = pack(model.eval())
    times = medians(
        {"encoder": lambda: stock(images[:1]), "forward": lambda: ready(images[:1])}, 15
    )
    return {
        "trained_parameters_m": parameters / 1e6,
        "train_s_per_image": train,
        "forward_ms": 1000 * times["forward"],
        "forward_over_encoder": times["forward"] / times["encoder"],
    }


def train_and_evaluate(
    settings: dict[str, Any], name: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Train shortly and return the mean metrics."""
    run = arguments.out / name.replace(" ", "-").replace(",", "")
    mambaad.train(
        arguments.data,
        run,
        recipe="fast",
        encoder="resnet18",
        encoder_weights=str(arguments.encoder_weights),
        epochs=arguments.epochs,
        resume=has_begun(run),
        **settings,
    )
    return dict(mambaad.evaluate(run, arguments.data).mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--encoder-weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    stored = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    if stored.get("epochs", arguments.epochs) != arguments.epochs:
        sys.exit(
            f"variants: {arguments.json} holds cuts of {stored['epochs']} epochs; move it away"
        )
    known = stored.get("cuts", {})
    for name, settings in CUTS.items():
        if known.get(name, {}).get("settings") != json.loads(json.dumps(settings)):
            known[name] = {"settings": settings, **train_and_evaluate(settings, name, arguments)}
        row = known[name]
        row.update(profile_cut(settings))
        record = {"epochs": arguments.epochs, "cuts": known, "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")
        print(
            f"{name:51} {row['trained_parameters_m']:5.2f} M  {row['train_s_per_image']:.3f} s  "
            f"{row['forward_ms']:5.1f} ms  {row['forward_over_encoder']:.2f} x encoder  "
            f"mAD {100 * row['mad']:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except (mambaad.MambaADError, KeyboardInterrupt) as error:
        sys.exit(f"variants: {str(error) or 'interrupted'}")
