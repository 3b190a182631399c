"""The speed of the metrics beside the usual implementation, on a run's test images.

    python benchmarks/metrics_speed.py RUN DATA --json FILE [--classes a,b]

The usual one: scikit-learn's curves, and for AU-PRO a loop of 100 thresholds in which every mask's
regions are recomputed with scikit-image, as in the published evaluation codes. Both get the same
maps and masks, the same images and one run; the model's time is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.measure import label, regionprops
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

import mambaad
from mambaad.data.masks import resize_mask_nearest
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.files import check_writable, write_text
from mambaad.inspection.stream import Item, observe_stream
from mambaad.metrics.protocols import ClassMetrics

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

THRESHOLDS = 100
EXACT = ("auroc", "ap", "f1_max")


def usual_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Compute AU-ROC, AP and F1-max of flat labels and scores with scikit-learn."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "ap": float(average_precision_score(labels, scores)),
        "f1_max": float(f1.max()),
    }


def usual_au_pro(maps: np.ndarray, masks: np.ndarray) -> float:
    """Compute AU-PRO to a false-positive rate of 0.3 from 100 thresholds."""
    rates, overlaps = [], []
    normal = ~masks
    for threshold in np.linspace(maps.min(), maps.max(), THRESHOLDS, endpoint=False):
        above = maps > threshold
        regions = [
            above[i][tuple(region.coords.T)].mean()
            for i in range(len(maps))
            for region in regionprops(label(masks[i]))
        ]
        overlaps.append(np.mean(regions))
        rates.append((above & normal).sum() / normal.sum())
    rate, overlap = np.asarray(rates), np.asarray(overlaps)
    inside = rate < 0.3
    rate, overlap = rate[inside] / rate[inside].max(), overlap[inside]
    return float(auc(rate, overlap))


def class_maps(run: Path, data: Path, names: Sequence[str] | None) -> dict[str, Any]:
    """Observe each class's test images: maps, masks, scores, labels."""
    inspector = mambaad.Inspector(run)
    by_class = {}
    for c in MVTEC.read(data, names, split="test"):
        if not c.has_masks:
            continue
        maps, masks, scores, labels = [], [], [], []
        for image in observe_stream(inspector.engine, map(Item.of, c.test)):
            observation, _ = image.result
            mask = np.zeros(inspector.size, bool)
            if image.mask is not None:
                mask = resize_mask_nearest(image.mask, *inspector.size)
            maps.append(observation.anomaly_map)
            masks.append(mask)
            scores.append(observation.score)
            labels.append(image.item.sample.is_defective)
        by_class[c.name] = (maps, masks, scores, labels)
    return by_class


def compare(maps: Any, masks: Any, scores: Any, labels: Any) -> dict[str, Any]:
    """Run both implementations on one class; return seconds and the largest difference."""
    started = time.perf_counter()
    metrics = ClassMetrics("exact", True)
    for anomaly_map, mask, score, defective in zip(maps, masks, scores, labels, strict=True):
        metrics.update(anomaly_map, score, defective, mask if defective else None)
    ours = metrics.compute()
    our_seconds = time.perf_counter() - started

    started = time.perf_counter()
    all_maps, all_masks = np.stack(maps), np.stack(masks)
    image = usual_ranking(np.asarray(labels), np.asarray(scores))
    pixel = usual_ranking(all_masks.ravel(), all_maps.ravel())
    au_pro = usual_au_pro(all_maps, all_masks)
    usual_seconds = time.perf_counter() - started

    usual = {f"image_{name}": image[name] for name in EXACT}
    usual |= {f"pixel_{name}": pixel[name] for name in EXACT}
    return {
        "images": len(maps),
        "seconds": our_seconds,
        "usual_seconds": usual_seconds,
        "largest_difference": max(abs((ours[name] or 0) - usual[name]) for name in usual),
        "au_pro": ours["pixel_aupro"],
        "usual_au_pro": au_pro,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--classes", type=lambda text: text.split(","))
    args = parser.parse_args()
    check_writable(args.json)

    classes = class_maps(args.run, args.data, args.classes)
    by_class = {name: compare(*given) for name, given in classes.items()}
    ours = sum(row["seconds"] for row in by_class.values())
    usual = sum(row["usual_seconds"] for row in by_class.values())
    result = {
        "classes": by_class,
        "seconds": ours,
        "usual_seconds": usual,
        "speedup": usual / ours,
        "largest_difference": max(row["largest_difference"] for row in by_class.values()),
        "machine": machine(),
    }
    write_text(args.json, json.dumps(result, indent=2) + "\n")
    for name, row in by_class.items():
        print(
            f"{name:16} {row['images']:4} images  {row['seconds']:6.2f} s  usual "
            f"{row['usual_seconds']:6.1f} s  AU-PRO {row['au_pro']:.4f} / {row['usual_au_pro']:.4f}"
        )
    print(f"{usual / ours:.0f} times faster; exact figures differ by at most", end=" ")
    print(f"{result['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
