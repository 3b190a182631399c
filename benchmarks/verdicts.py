"""The reliability of verdicts: false alarms, recall, products, drift, and inspection time.

    python benchmarks/verdicts.py RUN DATA --json FILE --markdown FILE

RUN is calibrated. Test images are observed once; everything else is computed from that. False
alarms are counted on the test images, and over many random divisions of each class's held-out good
parts into calibration parts and new ones. Drift is simulated on good test images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy import stats

import mambaad
from mambaad.data.images import read_image, resize_image
from mambaad.data.layouts import read_data
from mambaad.data.read_ahead import read_ahead
from mambaad.files import check_writable, write_text
from mambaad.inspection.calibration import Calibration
from mambaad.inspection.drift import drift_evidence, first_alarm
from mambaad.inspection.stream import Item, observe_stream
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.progress import show_progress
from mambaad.types import ProductClass
from mambaad.workflows.monitor import WATCHED

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

RATES = (0.01, 0.05)
DIVISIONS = 1000
SEQUENCES = 50
BEFORE, AFTER = 60, 300  # parts of a simulated sequence before and after a change
FALSE_ALARMS = 0.01  # of the drift test

Pixels = np.ndarray
CHANGES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "lamp 10 % darker": lambda p: (p * 0.9).astype(np.uint8),
    "lamp 20 % darker": lambda p: (p * 0.8).astype(np.uint8),
    "blur, sigma 0.5 % of the side": lambda p: _blurred(p, 0.005),
    "blur, sigma 1 % of the side": lambda p: _blurred(p, 0.01),
    "camera 2 % to the right": lambda p: _shifted(p, 0.02),
    "camera 5 % to the right": lambda p: _shifted(p, 0.05),
}


def _blurred(pixels: Pixels, share: float) -> Pixels:
    radius = share * min(pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _shifted(pixels: Pixels, share: float) -> Pixels:
    by = round(share * pixels.shape[1])
    return np.concatenate([np.repeat(pixels[:, :1], by, axis=1), pixels[:, :-by]], axis=1)


def coverage(good: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Set thresholds on half of the good parts and test them on the rest, over many divisions.

    ``inside``: share of divisions whose count of false alarms lies where the stated distribution
    of the rate has 95 % of it (Beta, hence beta-binomial for a count); ``mean_rate``: measured.
    """
    results = []
    for name, scores in good.items():
        for asked in RATES:
            random = np.random.default_rng(0)
            rates, inside, stated = [], 0, 0.0
            for _ in range(DIVISIONS):
                drawn = random.permutation(scores)
                half = len(drawn) // 2
                threshold = conformal_threshold(drawn[:half], asked)
                new = drawn[half:]
                alarms = int((new > threshold.value).sum())
                above = round(threshold.rate * (half + 1))
                low, high = stats.betabinom(len(new), above, half + 1 - above).interval(0.95)
                inside += low <= alarms <= high
                rates.append(alarms / len(new))
                stated = threshold.rate
            results.append(
                {
                    "class": name,
                    "good_parts": len(scores),
                    "asked": asked,
                    "stated": stated,
                    "mean_rate": float(np.mean(rates)),
                    "inside": inside / DIVISIONS,
                }
            )
    return results


def figures(inspector: mambaad.Inspector, images: Sequence[Pixels]) -> dict[str, np.ndarray]:
    """Measure score, sharpness and brightness of images of one class."""
    observed = [image.result for image in observe_stream(inspector.engine, map(Item, images))]
    return {
        "score": np.asarray([observation.score for observation, _ in observed]),
        "sharpness": np.asarray([quality.sharpness for _, quality in observed]),
        "brightness": np.asarray([quality.brightness for _, quality in observed]),
    }


def drift(
    inspector: mambaad.Inspector, calibration: Calibration, classes: Sequence[ProductClass]
) -> list[dict[str, Any]]:
    """Count the parts from a change to the alarm, and the alarms without a change.

    Sequences are drawn with replacement from good test images; only parts that pass go in. Test
    images and calibration parts are pooled and split anew, so that both have one distribution.
    """
    rate_per_test = FALSE_ALARMS / (len(WATCHED) * len(calibration.classes))
    results = []
    for c in classes:
        paths = [s.path for s in c.test if not s.is_defective]
        images = list(read_ahead(read_image, paths))
        before = calibration.classes[c.name]
        limit = before.review.value
        unchanged = figures(inspector, images)
        own = {"score": before.scores, "sharpness": before.sharpness}
        own["brightness"] = before.brightness
        pool = {f: np.concatenate([own[f], unchanged[f]]) for f in WATCHED}
        for name, change in {"nothing": None, **CHANGES}.items():
            changed = (
                unchanged if change is None else figures(inspector, [change(i) for i in images])
            )
            random = np.random.default_rng(0)
            delays, false = [], 0
            for _ in range(SEQUENCES):
                first: list[int] = []
                for figure in WATCHED:
                    deal = random.permutation(pool[figure])
                    fixed, new = deal[: len(own[figure])], deal[len(own[figure]) :]
                    later = random.choice(changed[figure], AFTER)
                    sequence = np.concatenate([new[:BEFORE], later if change else later[:0]])
                    if figure == "score":
                        fixed, sequence = fixed[fixed < limit], sequence[sequence <= limit]
                    alarm = first_alarm(drift_evidence(fixed, sequence), rate_per_test)
                    if alarm is not None:
                        first.append(alarm)
                start = min(len(paths), BEFORE)
                false += any(alarm < start for alarm in first)
                after = [alarm - start for alarm in first if alarm >= start]
                if change and after:
                    delays.append(min(after) + 1)
            results.append(
                {
                    "class": c.name,
                    "change": name,
                    "found": len(delays) / SEQUENCES if change else None,
                    "median_delay": median(delays) if delays else None,
                    "false_alarms": false / SEQUENCES,
                    "mean_score_shift": float(changed["score"].mean() - unchanged["score"].mean()),
                }
            )
    return results


def inspection_times(inspector: mambaad.Inspector, image: Pixels) -> dict[str, float]:
    """Time the model with its map alone, and ``inspect``: medians in ms, alternating."""
    batch = resize_image(image, inspector.size)[None].copy()
    bare, whole = [], []
    for _ in range(25):
        started = time.perf_counter()
        inspector.engine.observe(batch)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        inspector.inspect(image)
        whole.append(time.perf_counter() - started)
    return {
        "bare_ms": 1000 * median(bare[5:]),
        "inspect_ms": 1000 * median(whole[5:]),
        "over": median(w / b for w, b in zip(whole[5:], bare[5:], strict=True)) - 1,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """Format the tables of the README."""
    lines = ["# Verdicts on test images", "", "Per cent of good and of defective parts.", ""]
    for title in ("given", "inferred", "unified"):
        heading, *rows = results[title]
        lines += [f"**{title}**", "", "| " + " | ".join(heading) + " |"]
        lines += ["|---" * len(heading) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    lines += ["| class | good parts | asked | stated | measured | inside the interval |"]
    lines += ["|---|---|---|---|---|---|"]
    for c in results["coverage"]:
        numbers = (f"{100 * c[k]:.1f} %" for k in ("asked", "stated", "mean_rate", "inside"))
        lines.append(f"| {c['class']} | {c['good_parts']} | " + " | ".join(numbers) + " |")
    lines += ["", "| change | class | found | parts until then | false alarms before |"]
    lines += ["|---|---|---|---|---|"]
    for d in results["drift"]:
        share = "-" if d["found"] is None else f"{100 * d['found']:.0f} %"
        delay = "-" if d["median_delay"] is None else f"{d['median_delay']:.0f}"
        false = f"{100 * d['false_alarms']:.0f} %"
        lines.append(f"| {d['change']} | {d['class']} | {share} | {delay} | {false} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    arguments = parser.parse_args()
    for path in (arguments.json, arguments.markdown):
        check_writable(path)
    inspector = mambaad.Inspector(arguments.run)
    calibration = inspector.calibration
    if calibration is None:
        sys.exit(f"verdicts: {arguments.run} is not calibrated; run mambaad calibrate first")
    classes = read_data(arguments.data, inspector.products, split="test")
    judged = mambaad.evaluate(inspector, arguments.data, verdicts=True).verdicts
    good = {}
    for c in classes:
        paths = [s.path for s in c.test if not s.is_defective]
        new = figures(inspector, list(read_ahead(read_image, paths)))["score"]
        good[c.name] = np.concatenate([calibration.classes[c.name].scores, new])
    results = {
        "method": calibration.method,
        "given": judged.to_rows(judged.given),
        "inferred": judged.to_rows(judged.inferred),
        "unified": judged.unified_rows(),
        "coverage": coverage(good),
        "drift": drift(inspector, calibration, classes),
        "cost": inspection_times(inspector, read_image(classes[0].test[0].path)),
        "threads": torch.get_num_threads(),
        "machine": machine(),
    }
    write_text(arguments.json, json.dumps(results, indent=2) + "\n")
    write_text(arguments.markdown, markdown(results))
    print(markdown(results))
    print(json.dumps(results["cost"]))


if __name__ == "__main__":
    show_progress()
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"verdicts: {error}")
