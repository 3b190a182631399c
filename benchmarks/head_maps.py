"""What the residual head of a run changes: metrics of each class with it and without, and maps.

    python benchmarks/head_maps.py RUN DATA --json FILE [--pictures FILE]

The same trained model is evaluated twice (protocol ``exact``), once with its head left out. The
picture has, for each class with masks, the defective image whose pixel AP the head raises most,
and the one that it lowers most: the image with its mask outlined, its map without the head, and
with it. Colours span each kind of map's values on the class's test images, up to their largest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import mambaad
from mambaad.artifacts.prototypes import read_prototypes
from mambaad.artifacts.run_folder import read_config
from mambaad.artifacts.snapshot import opened
from mambaad.data.images import read_image, resize_image
from mambaad.data.layouts import read_data
from mambaad.data.mask_files import read_mask
from mambaad.data.masks import resize_mask_nearest
from mambaad.files import check_writable, write_text, written_whole
from mambaad.inference.torch_engine import TorchEngine
from mambaad.inference.weights import load_model
from mambaad.inspection.overlay import draw_outlines, heatmap_overlay
from mambaad.inspection.stream import Observed
from mambaad.metrics.ranking import average_precision
from mambaad.types import ProductClass, Sample
from mambaad.workflows.evaluate import evaluate_engine

sys.path.insert(0, str(Path(__file__).parent))
from machine import machine

Maps = dict[Path, np.ndarray]


def evaluated(run: Path, classes: list[ProductClass], *, head: bool) -> tuple[Any, Maps]:
    with opened(run) as trained:
        model, size = load_model(trained), read_config(trained).size
        means = torch.from_numpy(read_prototypes(trained).means)
    if not head:
        model.head = None
    engine = TorchEngine(model, size, means)
    maps: Maps = {}

    def keep(image: Observed) -> None:
        assert image.observation is not None
        assert image.item.sample is not None
        maps[image.item.sample.path] = image.observation.anomaly_map

    return evaluate_engine(engine, classes, "exact", sinks=[keep]), maps


def precision_of(sample: Sample, anomaly_map: np.ndarray) -> float:
    assert sample.mask_path is not None
    mask = resize_mask_nearest(read_mask(sample.mask_path), *anomaly_map.shape)
    return average_precision(anomaly_map.ravel(), mask.ravel()) or 0.0


def picture(classes: list[ProductClass], without: Maps, with_head: Maps) -> np.ndarray:
    rows = []
    for c in classes:
        masked = [s for s in c.test if s.mask_path is not None and read_mask(s.mask_path).any()]
        if not masked:
            continue
        gains = [
            precision_of(s, with_head[s.path]) - precision_of(s, without[s.path]) for s in masked
        ]
        tiles = []
        for chosen in (int(np.argmax(gains)), int(np.argmin(gains))):
            sample = masked[chosen]
            assert sample.mask_path is not None
            pixels = resize_image(read_image(sample.path), without[sample.path].shape)
            tiles.append(draw_outlines(pixels, read_mask(sample.mask_path)))
            for maps in (without, with_head):
                of_class = [maps[s.path] for s in c.test]
                span = (float(np.median(of_class)), float(np.max(of_class)))
                tiles.append(heatmap_overlay(pixels, maps[sample.path], span))
            print(f"{c.name}: pixel AP of {sample.path.name} {100 * gains[chosen]:+.1f}")
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    check_writable(arguments.json)
    with opened(arguments.run) as trained:
        config, names = read_config(trained), read_prototypes(trained).products
    if config.head == "off":
        sys.exit(f"head_maps: {arguments.run} has no residual head; train with --head residual")
    classes = [c for c in read_data(arguments.data, names) if c.test]
    found = {head: evaluated(arguments.run, classes, head=head) for head in (False, True)}
    figures = {
        label: {"mean": evaluation.mean, "classes": evaluation.classes}
        for label, (evaluation, _) in (("without", found[False]), ("with", found[True]))
    }
    for name in (*names, "mean"):
        before, after = (
            figures[label]["mean"] if name == "mean" else figures[label]["classes"].get(name, {})
            for label in ("without", "with")
        )
        changes = "  ".join(
            f"{m} {100 * before[m]:.1f}{100 * (after[m] - before[m]):+.1f}"
            for m in before
            if before[m] is not None
        )
        print(f"{name}: {changes}")
    settings = config.model_dump(mode="json", exclude={"encoder_weights"})
    record = {"settings": settings, **figures, "machine": machine()}
    write_text(arguments.json, json.dumps(record, indent=2) + "\n")
    if arguments.pictures:
        pixels = picture(classes, found[False][1], found[True][1])
        with written_whole(arguments.pictures) as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"head_maps: {error}")
