"""The embedded encoder beside the same architecture with ImageNet's and with random weights.

    python benchmarks/encoders.py DATA --imagenet-weights FILE --out DIR --json FILE

One model of each on the same data: variant lite, recipe fast, the same seed; metrics under
protocol ``exact``, by class. Run the same command again to resume.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import training_seconds
from mambaad.artifacts.snapshot import opened
from mambaad.files import check_writable, write_text
from mambaad.progress import show_progress

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine


def measure(run: Path, data: Path, epochs: int | None, settings: dict[str, str]) -> dict[str, Any]:
    """Train and evaluate; return the metrics by class."""
    given = {} if epochs is None else {"epochs": epochs}
    resume = has_begun(run)
    mambaad.train(data, run, resume=resume, recipe="fast", variant="lite", **given, **settings)
    evaluation = mambaad.evaluate(run, data)
    with opened(run) as trained:
        minutes = training_seconds(trained) / 60
    return {"minutes": minutes, "mean": evaluation.mean, "classes": evaluation.classes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--imagenet-weights", required=True, help="a file, or timm")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="override the recipe's")
    arguments = parser.parse_args()
    check_writable(arguments.json)
    encoders = {
        "ImageNet": {"encoder": "resnet18", "encoder_weights": arguments.imagenet_weights},
        "embedded": {"encoder": "embedded"},
        "random": {"encoder": "resnet18", "encoder_weights": "random"},
    }
    results: dict[str, Any] = {}
    for name, settings in encoders.items():
        results[name] = measure(arguments.out / name, arguments.data, arguments.epochs, settings)
        record = {"encoders": results, "threads": torch.get_num_threads(), "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=2) + "\n")
    classes = list(results["ImageNet"]["classes"])
    print(f"{'mAD':16}" + "".join(f"{name:>12}" for name in results))
    for c in classes:
        values = [result["classes"][c]["mad"] for result in results.values()]  # None without masks
        shown = ("-" if v is None else f"{100 * v:.1f}" for v in values)
        print(f"{c:16}" + "".join(f"{v:>12}" for v in shown))
    print(f"{'mean':16}" + "".join(f"{100 * r['mean']['mad']:12.1f}" for r in results.values()))


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except (mambaad.MambaADError, KeyboardInterrupt) as error:
        sys.exit(f"encoders: {str(error) or 'interrupted'}")
