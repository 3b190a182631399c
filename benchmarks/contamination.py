"""Defective images among the good ones: what they cost, and what finding or trimming them gives.

    python benchmarks/contamination.py DATA --encoder-weights FILE --out DIR --json FILE

For each rate, defective test images are put among each class's training images: as many as that
share of the good ones, but at most 80 % of the class's defective images. What the largest rate
takes is out of the test at every rate, so that all are tested on the same images. Then, for each
rate: the suspects of ``mambaad data suspects``; and the metrics (protocol ``exact``) of three
trainings (variant lite, recipe fast): on all images, without the suspects, and with ``trim``.
With ``--suspects-only`` nothing is trained; with ``--share`` the suspects are that share of each
class instead of those that the rule names. Run the same command again to resume.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.data.exclusion import relative_name
from mambaad.data.layouts import read_data
from mambaad.data.splits import shuffled
from mambaad.files import check_writable, write_text
from mambaad.metrics.ranking import roc_auc
from mambaad.progress import show_progress
from mambaad.types import ProductClass, Sample
from mambaad.workflows.suspects import find_suspects

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

MOST_TAKEN = 0.8  # of a class's defective images
INJECTED = "injected"  # what the names of such images begin with
WAYS = ("all images", "without suspects", "trimmed")


def injected(c: ProductClass, rate: float, seed: int) -> list[Sample]:
    """Draw the defective images that a rate puts among the good ones; a larger rate adds others."""
    defective = [sample for sample in c.test if sample.is_defective]
    count = min(round(rate * len(c.train)), int(MOST_TAKEN * len(defective)))
    return [defective[i] for i in shuffled(c.name, len(defective), seed)[:count]]


def build(
    folder: Path, classes: Sequence[ProductClass], rate: float, most: float, seed: int
) -> None:
    """Make a data set in MVTec AD's layout, by links, or by copies where there are none."""
    for c in classes:
        taken = set(injected(c, most, seed))
        place = folder / c.name
        for i, sample in enumerate(c.train):
            _link(sample.path, place / "train" / "good" / f"{i:05}{sample.path.suffix}")
        for i, sample in enumerate(injected(c, rate, seed)):
            name = f"{INJECTED}_{i:05}{sample.path.suffix}"
            _link(sample.path, place / "train" / "good" / name)
        for i, sample in enumerate(c.test):
            if sample in taken:
                continue
            kind = sample.defect_type
            _link(sample.path, place / "test" / kind / f"{i:05}{sample.path.suffix}")
            if sample.mask_path:
                mask = f"{i:05}_mask{sample.mask_path.suffix}"
                _link(sample.mask_path, place / "ground_truth" / kind / mask)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def look(data: Path, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Find the suspects: their names, and by class how many of the injected images they hold."""
    names: list[str] = []
    found: dict[str, Any] = {}
    for c in find_suspects(data, **given, seed=seed):
        is_injected = [sample.path.name.startswith(INJECTED) for sample in c.samples]
        hits = [is_in and bool(s) for is_in, s in zip(is_injected, c.suspects, strict=True)]
        found[c.name] = {
            "good": len(c.samples) - sum(is_injected),
            "injected": sum(is_injected),
            "suspects": int(c.suspects.sum()),
            "found": sum(hits),
            "good_scores": _rounded(c.scores[~np.asarray(is_injected)]),
            "injected_scores": _rounded(c.scores[is_injected]),
        }
        pairs = zip(c.samples, c.suspects, strict=True)
        names += [relative_name(sample.path, data) for sample, s in pairs if s]
    return {"names": names, "classes": found}


def _rounded(scores: np.ndarray) -> list[float]:
    return [round(score, 4) for score in scores.tolist()]


def train(
    data: Path,
    run: Path,
    settings: Mapping[str, Any],
    suspects: Sequence[str],
    way: str,
    trim: float,
) -> dict[str, Any]:
    """Train in one of the ways and return the metrics, by class and their mean."""
    own: dict[str, Any] = {}
    if way == "without suspects" and suspects:
        own = {"exclude": suspects}
    elif way == "trimmed":
        own = {"trim": trim}
    resume = has_begun(run)
    mambaad.train(data, run, resume=resume, recipe="fast", variant="lite", **settings, **own)
    evaluation = mambaad.evaluate(run, data)
    return {"mean": dict(evaluation.mean), "classes": evaluation.classes}


def show(results: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Write the tables: injected images among the suspects, and metrics where there are any."""
    lines = [f"{'suspects: injected, good; AUROC of scores':46}" + _cells(classes)]
    for key, result in results.items():
        found = result["suspects"]["classes"]
        lines.append(f"{key:46}" + _cells(_suspects(found[c]) for c in classes))
    if any(way in result for result in results.values() for way in WAYS):
        lines += ["", f"{'mAD (image AUROC without masks)':46}" + _cells([*classes, "mean"])]
    for key, result in results.items():
        for way in WAYS:
            if way in result:
                figures = [*(result[way]["classes"][c] for c in classes), result[way]["mean"]]
                lines.append(f"{f'{key}, {way}':46}" + _cells(map(_figure, figures)))
    return "\n".join(lines)


def _suspects(found: Mapping[str, Any]) -> str:
    good, odd = found["good_scores"], found["injected_scores"]
    ranking = roc_auc(np.asarray([*good, *odd]), np.arange(len(good) + len(odd)) >= len(good))
    text = f"{found['found']}/{found['injected']}, {found['suspects'] - found['found']}"
    return f"{text}/{found['good']}; " + ("-" if ranking is None else f"{100 * ranking:.1f}")


def _figure(metrics: Mapping[str, float | None]) -> str:
    value = metrics["mad"] if metrics["mad"] is not None else metrics["image_auroc"]
    return "-" if value is None else f"{100 * value:.1f}"


def _cells(texts: Any) -> str:
    return "".join(f"{text:>23}" for text in texts)


def measure(arguments: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> None:
    """Fill the results, which are saved after each step."""
    encoder = {"encoder": arguments.encoder, "encoder_weights": arguments.encoder_weights}
    encoder["size"] = arguments.size
    settings = {**encoder, **({"epochs": arguments.epochs} if arguments.epochs else {})}
    classes = read_data(arguments.data, arguments.classes)
    names = [c.name for c in classes]
    about = {
        "classes": names,
        "settings": {**settings, "encoder_weights": Path(arguments.encoder_weights).name},
        "trim": arguments.trim,
        "share": arguments.share,
        "most": max(arguments.rates),
    }
    stored = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    if stored.get("about", about) != about:
        sys.exit(f"contamination: {arguments.json} is of other settings; move it away")
    results = stored.get("results", {})
    for seed in arguments.seeds:
        for rate in arguments.rates:
            result = results.setdefault(f"seed {seed}, rate {rate:g}", {})
            with tempfile.TemporaryDirectory() as temporary:
                data = Path(temporary) / "data"
                build(data, classes, rate, max(arguments.rates), seed)
                known = result.setdefault("suspects", {"names": [], "classes": {}})
                for name in names:
                    if name not in known["classes"]:
                        given = {**encoder, "classes": [name], "share": arguments.share}
                        more = look(data, given, seed)
                        known["names"] += more["names"]
                        known["classes"] |= more["classes"]
                        save({"about": about, "results": results})
                for way in () if arguments.suspects_only else WAYS:
                    if way == "without suspects" and not known["names"]:
                        result[way] = result["all images"]  # the very same training
                    elif way not in result:
                        run = arguments.out / f"{seed}_{rate:g}_{way.replace(' ', '_')}"
                        train_settings = {**settings, "seed": seed}
                        suspects = known["names"]
                        result[way] = train(
                            data, run, train_settings, suspects, way, arguments.trim
                        )
                        save({"about": about, "results": results})
            print(show({f"seed {seed}, rate {rate:g}": result}, names), flush=True)
    print("\n" + show(results, names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--classes", type=lambda text: text.split(","), help="a,b,c; default: all")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--encoder-weights", default="timm", help="a file, or timm")
    parser.add_argument("--size", default="256")
    parser.add_argument("--epochs", type=int, help="override the recipe's")
    parser.add_argument("--trim", type=float, default=0.01)
    parser.add_argument("--share", type=float, help="of each class to suspect; default: the rule")
    parser.add_argument("--suspects-only", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    check_writable(arguments.json)
    if not all(0 <= rate < 1 for rate in arguments.rates):
        sys.exit(f"contamination: --rates: expected shares from 0 to below 1, {arguments.rates}")

    def save(record: dict[str, Any]) -> None:
        record |= {"threads": torch.get_num_threads(), "machine": machine()}
        write_text(arguments.json, json.dumps(record, indent=1) + "\n")

    measure(arguments, save)


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except (mambaad.MambaADError, KeyboardInterrupt) as error:
        sys.exit(f"contamination: {str(error) or 'interrupted'}")
