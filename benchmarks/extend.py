"""The time of adding a product, and how much is forgotten, with one class of a data set held out.

    python benchmarks/extend.py DATA --new CLASS --encoder-weights FILE --out DIR --json FILE

One model is trained on the other classes (ResNet-18, lite, recipe fast, four epochs), then
extended by CLASS in several ways, each from the same weights: by default, with less of the old
parts replayed, and with next to none of them (one part a class). Run the same command again to
resume.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import training_seconds
from mambaad.artifacts.snapshot import opened
from mambaad.data.layouts import class_names
from mambaad.files import check_writable, write_text
from mambaad.metrics.names import METRICS
from mambaad.progress import show_progress
from mambaad.workflows.extend import EPOCHS, LR_SHARE, Extension, extend

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "a quarter replayed": {"replay": 0.25},
    "one old part a class": {"replay": 1e-6},
}
BASE = {"encoder": "resnet18", "recipe": "fast", "variant": "lite", "epochs": 4}


def summary(extension: Extension, seconds: float) -> dict[str, Any]:
    """The new product's metrics, the old ones' means before and after, and the largest drop."""
    worst = max(extension.changes, key=lambda c: c.drop)
    means = {
        when: {
            m: fmean(getattr(c, when) for c in extension.changes if c.metric == m) for m in METRICS
        }
        for when in ("before", "after")
    }
    return {
        "new": extension.metrics,
        **means,
        "changes": [vars(c) for c in extension.changes],
        "largest_drop": {"class": worst.product, "metric": worst.metric, "drop": worst.drop},
        "training_seconds": seconds_of(extension.run),
        "seconds": seconds,
    }


def seconds_of(run: Path) -> float:
    with opened(run) as trained:
        return training_seconds(trained)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--new", required=True)
    parser.add_argument("--encoder-weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    old = tuple(name for name in class_names(arguments.data) if name != arguments.new)
    base = arguments.out / "base"
    weights = {"encoder_weights": arguments.encoder_weights, "classes": old}
    resume = has_begun(base)
    mambaad.train(arguments.data, base, resume=resume, **BASE, **weights)
    ways = {}
    for name, settings in WAYS.items():
        folder = arguments.out / name.replace(" ", "_")
        done = folder / "result.json"
        if not done.is_file():
            run = folder / "run"
            if not run.exists():
                shutil.copytree(base, run)
            started = time.perf_counter()
            new = arguments.data / arguments.new
            extension = extend(run, new, arguments.data, max_drop=1, **settings)
            taken = time.perf_counter() - started
            write_text(done, json.dumps(summary(extension, taken), indent=2) + "\n")
        ways[name] = json.loads(done.read_text())
    result = {
        "new": arguments.new,
        "base": BASE,
        "epochs": EPOCHS,
        "lr_share": LR_SHARE,
        "base_seconds": seconds_of(base),
        "ways": ways,
        "machine": machine(),
    }
    write_text(arguments.json, json.dumps(result, indent=2) + "\n")
    for name, way in ways.items():
        drop = way["largest_drop"]
        print(
            f"{name:22} new mAD {100 * way['new']['mad']:.1f}  old mAD "
            f"{100 * way['before']['mad']:.1f} > {100 * way['after']['mad']:.1f}  largest drop "
            f"{100 * drop['drop']:.1f} ({drop['metric']} of {drop['class']})  "
            f"{way['training_seconds'] / 60:.1f} min"
        )


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"extend: {error}")
