"""What each export of a model says of real images, beside the model itself.

    python benchmarks/export_parity.py DATA --encoder-weights FILE --out DIR --json FILE
    python benchmarks/export_parity.py DATA --run RUN --out DIR --json FILE

Trains a ResNet-18 by the recipe ``fast`` unless a RUN is given (shortened: see ``EPOCHS``), and
calibrates it; exports it to each target in each precision, and inspects the same test images with
all of them: some good and some defective ones of each class, spread over the class. Stored are the
largest differences of maps and scores, the verdicts that change, and the metrics by class. What is
in DIR and FILE already is not done again, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import mambaad
from mambaad.artifacts.export_folder import ExportPrecision, Target
from mambaad.artifacts.manifest import CALIBRATION
from mambaad.artifacts.run_folder import check_finished, read_config
from mambaad.artifacts.snapshot import opened
from mambaad.config import TrainConfig
from mambaad.data.unread import list_data
from mambaad.files import check_writable, write_text
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import Item
from mambaad.metrics.protocols import ClassMetrics
from mambaad.progress import say, show_progress
from mambaad.types import ProductClass, Sample
from mambaad.workflows.calibrate import calibrate
from mambaad.workflows.export import export
from mambaad.workflows.pixel_pairs import pixel_pair

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

EPOCHS, HEAD_STEPS = {"lite": 3, "base": 1}, 120
KINDS: dict[str, tuple[Target, ExportPrecision]] = {
    "onnx-int8": ("onnx", "int8"),
    "onnx-float32": ("onnx", "float32"),
    "openvino-bfloat16": ("openvino", "bfloat16"),
    "openvino-float32": ("openvino", "float32"),
    "torch-export-bfloat16": ("torch-export", "bfloat16"),
    "torch-export-float32": ("torch-export", "float32"),
}
METRICS = ("image_auroc", "pixel_ap", "pixel_aupro", "mad")


class Found(NamedTuple):
    """What a model says of the images, in their order."""

    maps: list[np.ndarray]
    scores: list[float]
    verdicts: list[str | None]
    products: list[str | None]
    metrics: dict[str, dict[str, float | None]]


def some(samples: list[Sample], count: int) -> list[Sample]:
    """Take ``count`` samples, spread over all."""
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    return [samples[i] for i in chosen]


def inspect(source: Path, classes: list[ProductClass]) -> Found:
    """Inspect the images of each class, whose product the model is not told."""
    inspector = Inspector(source, device="cpu")
    found = Found([], [], [], [], {})
    for c in classes:
        metrics = ClassMetrics("exact", c.has_masks)
        for one in inspector.stream(map(Item.of, c.test)):
            if one.prediction is None:
                raise SystemExit(one.record.error)
            observation, _ = one.observed.result
            found.maps.append(observation.anomaly_map)
            found.scores.append(observation.score)
            verdict = one.prediction.verdict
            found.verdicts.append(verdict.value if verdict else None)
            found.products.append(one.prediction.product)
            pair = pixel_pair(one.observed, observation.anomaly_map, "exact", "map")
            sample = one.observed.item.sample
            metrics.update(pair.anomaly_map, observation.score, sample.is_defective, pair.mask)
        values = metrics.compute()
        found.metrics[c.name] = {name: values[name] for name in METRICS}
        say(f"{source.name}: {c.name} {found.metrics[c.name]}")
    return found


def difference(ours: Found, theirs: Found, classes: list[ProductClass]) -> dict[str, Any]:
    """What changes from the model to an export of it; metrics in points."""
    labels = [sample.is_defective for c in classes for sample in c.test]
    changed = [a != b for a, b in zip(ours.verdicts, theirs.verdicts, strict=True)]
    by_class = {
        name: {
            m: None if value is None else 100 * (value - ours.metrics[name][m])
            for m, value in values.items()
        }
        for name, values in theirs.metrics.items()
    }
    means = {}
    for m in METRICS:
        known = [v[m] for v in by_class.values() if v[m] is not None]
        means[m] = float(np.mean(known)) if known else None
    return {
        "maps_apart": max(
            float(np.abs(a - b).max()) for a, b in zip(ours.maps, theirs.maps, strict=True)
        ),
        "maps_apart_mean": float(
            np.mean([np.abs(a - b).mean() for a, b in zip(ours.maps, theirs.maps, strict=True)])
        ),
        "scores_apart": float(np.abs(np.subtract(ours.scores, theirs.scores)).max()),
        "verdicts_changed": sum(changed),
        "of_good": sum(c for c, bad in zip(changed, labels, strict=True) if not bad),
        "of_defective": sum(c for c, bad in zip(changed, labels, strict=True) if bad),
        "products_changed": sum(
            a != b for a, b in zip(ours.products, theirs.products, strict=True)
        ),
        "metrics": theirs.metrics,
        "points": by_class,
        "points_mean": means,
    }


def verdicts(found: Found, classes: list[ProductClass]) -> dict[str, dict[str, int]]:
    """Count the verdicts of good and of defective parts."""
    counts: dict[str, dict[str, int]] = {"good": {}, "defective": {}}
    samples = [sample for c in classes for sample in c.test]
    for sample, verdict in zip(samples, found.verdicts, strict=True):
        of = counts["defective" if sample.is_defective else "good"]
        of[str(verdict)] = of.get(str(verdict), 0) + 1
    return counts


def ready_run(arguments: argparse.Namespace) -> Path:
    """The run, which is trained and calibrated if it is not."""
    run = arguments.run or arguments.out / "run"
    if arguments.run is None and not run.exists():
        mambaad.train(
            arguments.data,
            run,
            recipe="fast",
            variant=arguments.variant,
            encoder="resnet18",
            encoder_weights=arguments.encoder_weights,
            size=256,
            epochs=EPOCHS[arguments.variant],
            head_steps=HEAD_STEPS,
            holdout=0.2,
        )
    elif arguments.run is None:
        mambaad.train(arguments.data, run, resume=True, **_settings(run))
    with opened(run) as snapshot:
        check_finished(snapshot)
        calibrated = snapshot.has(CALIBRATION)
    if not calibrated:
        calibrate(run, arguments.data)
    return run


def _settings(run: Path) -> dict[str, Any]:
    with opened(run) as snapshot:
        given: TrainConfig = read_config(snapshot)
    return given.model_dump(exclude_unset=True)


def main() -> None:
    """Compare, write as it goes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, help="a run on DATA with parts held out")
    parser.add_argument("--variant", choices=list(EPOCHS), default="lite")
    parser.add_argument("--encoder-weights", help="of a ResNet-18, to train with")
    parser.add_argument("--out", type=Path, required=True, help="folder for run and exports")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--name", help="of the model in the file (default: the variant)")
    parser.add_argument("--images", type=int, default=30, help="good and defective ones a class")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    if arguments.run is None and not arguments.encoder_weights:
        parser.error("give --run, or --encoder-weights to train one")
    show_progress()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # which exports read
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = ready_run(arguments)
    with opened(run) as snapshot:
        config = read_config(snapshot)
        names = list(Inspector(run, device="cpu").products)
    classes = []
    for c in list_data(arguments.data, names):
        good, defective = (
            [sample for sample in c.test if sample.is_defective == is_bad]
            for is_bad in (False, True)
        )
        few = [*some(good, arguments.images), *some(defective, arguments.images)]
        classes.append(ProductClass(c.name, (), tuple(few)))
    name = arguments.name or config.variant
    stored = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    of_model: dict[str, Any] = stored.setdefault(name, {})
    ours = inspect(run, classes)
    of_model["setup"] = {
        "settings": config.model_dump(mode="json", exclude={"encoder_weights"}, exclude_unset=True),
        "images": {
            c.name: [sum(s.is_defective == bad for s in c.test) for bad in (False, True)]
            for c in classes
        },
        "machine": machine(),
    }
    of_model["model"] = {"metrics": ours.metrics, "verdicts": verdicts(ours, classes)}
    for kind in arguments.kinds:
        if kind in of_model:
            continue
        target, precision = KINDS[kind]
        folder = arguments.out / f"{name}-{kind}"
        if not folder.exists():
            data = None if precision == "float32" else arguments.data
            export(run, folder, to=target, precision=precision, data=data)
        theirs = inspect(folder, classes)
        of_model[kind] = {
            **difference(ours, theirs, classes),
            "verdicts": verdicts(theirs, classes),
        }
        write_text(arguments.json, json.dumps(stored, indent=2) + "\n")
        shutil.rmtree(folder)  # each holds all weights
    for kind in arguments.kinds:
        found = of_model[kind]
        means = "  ".join(f"{m} {v:+.2f}" for m, v in found["points_mean"].items() if v is not None)
        print(
            f"{kind:24} maps {found['maps_apart']:.2g}  scores {found['scores_apart']:.2g}  "
            f"{found['verdicts_changed']} verdicts changed  {means}"
        )


if __name__ == "__main__":
    main()
