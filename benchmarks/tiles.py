"""Small defects in large images: tiles beside resizing, on drawn panels. Goes on where it stopped.

``python benchmarks/tiles.py FOLDER --size 4096 --tiles 512:384 --json FILE`` draws panels
(``mambaad.data.synthetic.panel``) of one product with several defects of 8 to 24 pixels, trains a
model on their tiles and one on the same images resized to a quarter, for as many pixels, and
measures on each 512-pixel field of the panel: recall at 1 % false alarms, by the area of the
defect; AU-PRO to 0.05; what shifting the grid by half a stride changes; the cost of a pixel.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from PIL import Image
from scipy import ndimage

import mambaad
from mambaad.artifacts.manifest import has_begun
from mambaad.artifacts.run_folder import is_finished
from mambaad.artifacts.snapshot import opened
from mambaad.data.masks import resize_mask_keeping
from mambaad.data.strips import ArrayStrips
from mambaad.data.synthetic.panel import render_panel
from mambaad.data.synthetic.settings import FIELD
from mambaad.data.tiling import Tiling
from mambaad.inspection.inspector import Inspector
from mambaad.inspection.stream import observe_one
from mambaad.inspection.thresholds import conformal_threshold
from mambaad.inspection.tiles import TiledEngine
from mambaad.metrics.saturated import SaturatedOverlap
from mambaad.size import parse_tiles

KINDS = ("hole", "stain", "contamination", "scratch")
AREAS = (0, 100, 200, 10**9)
FALSE_ALARMS = 0.01


def draw(arguments: argparse.Namespace) -> None:
    """Draw the panels that are not there yet, in MVTec AD's layout."""
    root = arguments.folder / "data" / arguments.product
    sets = [("train/good", arguments.train, 0), ("test/good", arguments.good, 1000)]
    sets.append(("test/small", arguments.bad, 2000))
    for folder, count, first in sets:
        for i in range(count):
            path = root / folder / f"{i:03}.png"
            mask = root / "ground_truth" / "small" / f"{i:03}_mask.png"
            if path.exists():
                continue
            defect = KINDS[i % len(KINDS)] if folder == "test/small" else None
            part = render_panel(
                arguments.product,
                first + i,
                size=arguments.size,
                defect=defect,
                count=arguments.defects,
            )
            for place, pixels in ((mask, part.mask.astype(np.uint8) * 255), (path, part.image)):
                if place is path or defect:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    unfinished = place.with_suffix(".unfinished")
                    Image.fromarray(pixels).save(unfinished, "PNG", compress_level=1)
                    unfinished.replace(place)
            print(f"drawn {path}", flush=True)


def trained(arguments: argparse.Namespace, name: str, **settings: Any) -> Path:
    """Train a run, or go on with it."""
    run: Path = arguments.folder / name
    if has_begun(run):
        with opened(run) as snapshot:
            if is_finished(snapshot):
                return run
    common = {"recipe": "fast", "variant": "lite", "encoder": "embedded", "head": "off"}
    data = arguments.folder / "data"
    if has_begun(run):
        return mambaad.train(data, run, resume=True)
    return mambaad.train(data, run, **common, **settings)


def observed(inspector: Inspector, path: Path, kept: Path) -> dict[str, Any]:
    """The map of an image, its score and the processor time, kept in a file."""
    if not kept.exists():
        began = time.process_time()
        observation, _ = observe_one(inspector.engine, inspector.item(path)).result
        seconds = time.process_time() - began
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            np.savez(file, map=observation.anomaly_map, score=observation.score, seconds=seconds)
        unfinished.replace(kept)
        print(f"{kept}: {seconds:.1f} s", flush=True)
    with np.load(kept) as found:
        return dict(found)


def fields_of(anomaly_map: np.ndarray, size: int) -> np.ndarray:
    """The maximum of each field of a panel."""
    across = size // FIELD
    rows, columns = (np.arange(across) * side // across for side in anomaly_map.shape)
    return np.maximum.reduceat(np.maximum.reduceat(anomaly_map, rows, 0), columns, 1)


def measured(arguments: argparse.Namespace, run: Path, tiles: str) -> dict[str, Any]:
    """Figures of one model on the test images."""
    inspector = Inspector(run, tiles=tiles)
    root = arguments.folder / "data" / arguments.product
    good_fields, bad_fields, areas, good_scores, bad_scores = [], [], [], [], []
    overlap, seconds = SaturatedOverlap(), []
    for path in sorted((root / "test").glob("*/*.png")):
        kept = arguments.folder / f"maps_{run.name}" / f"{path.parent.name}_{path.stem}.npz"
        found = observed(inspector, path, kept)
        seconds.append(float(found["seconds"]))
        maxima = fields_of(found["map"], arguments.size)
        mask = np.zeros((arguments.size, arguments.size), dtype=bool)
        if path.parent.name == "small":
            mask_path = root / "ground_truth" / "small" / f"{path.stem}_mask.png"
            mask = np.asarray(Image.open(mask_path)) > 127
        across = arguments.size // FIELD
        area = mask.reshape(across, FIELD, across, FIELD).sum(axis=(1, 3))
        good_fields += maxima[area == 0].tolist() if path.parent.name == "good" else []
        bad_fields += maxima[area > 0].tolist()
        areas += area[area > 0].tolist()
        (bad_scores if mask.any() else good_scores).append(float(found["score"]))
        small, _ = resize_mask_keeping(mask, *found["map"].shape)
        regions, count = ndimage.label(small, np.ones((3, 3)))
        parts = [regions == number for number in range(1, count + 1)]
        overlap.add(found["map"], [(part, float(part.sum())) for part in parts])
    threshold = conformal_threshold(np.asarray(good_fields), FALSE_ALARMS)
    caught, areas_found = np.asarray(bad_fields) > threshold.value, np.asarray(areas)
    by_area = {}
    for low, high in pairwise(AREAS):
        inside = (areas_found >= low) & (areas_found < high)
        by_area[f"{low} to {high}"] = [int(caught[inside].sum()), int(inside.sum())]
    return {
        "good fields": len(good_fields),
        "asked false alarms": FALSE_ALARMS,
        "rate of the threshold": threshold.rate,
        "recall of fields": float(caught.mean()),
        "recall by area in px": by_area,
        "defects": len(areas),
        "images": [len(good_scores), len(bad_scores)],
        "recall of images above all good ones": float(
            np.mean(np.asarray(bad_scores) > max(good_scores))
        ),
        "AU-PRO 0.05": overlap.area(0.05),
        "seconds an image": statistics.median(seconds),
        "median of good images' scores": statistics.median(good_scores),
        "good images' scores": good_scores,
    }


def shifted(arguments: argparse.Namespace, run: Path, fail: float) -> dict[str, float]:
    """What a grid shifted by half a stride changes of good images' scores."""
    plain, moved = Inspector(run), Inspector(run)
    size, stride = parse_tiles(arguments.tiles) or (0, 0)
    assert isinstance(moved.engine, TiledEngine)
    moved.engine.tiling = Tiling(size, stride, stride // 2)
    root = arguments.folder / "data" / arguments.product / "test" / "good"
    scores = []
    for path in sorted(root.iterdir())[: arguments.shifted]:
        kept = [
            arguments.folder / f"{maps}_{run.name}" / f"good_{path.stem}.npz"
            for maps in ("maps", "shifted")
        ]
        found = [observed(i, path, k) for i, k in zip((plain, moved), kept, strict=True)]
        scores.append([float(f["score"]) for f in found])
    before, after = np.asarray(scores).T
    distance = fail - float(np.median(before))
    changes = np.abs(after - before) / distance
    return {
        "images": len(scores),
        "from PASS to FAIL": distance,
        "largest change": float(changes.max()),
        "median change": float(np.median(changes)),
    }


def costs(arguments: argparse.Namespace, run: Path, rounds: int = 5) -> dict[str, float]:
    """Processor time for a pixel: an image of 256 pixels, a tile, and a strip of tiles."""
    tiled = Inspector(run)
    assert isinstance(tiled.engine, TiledEngine)
    random = np.random.default_rng(0)
    small = Inspector(arguments.folder / "small")
    size, stride = tiled.engine.tiling.size, tiled.engine.tiling.stride
    side = size + 2 * stride
    image = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    (whole,) = tiled.engine.observe(image[None, :size, :size])
    actions = {
        "256 x 256": (functools.partial(small.engine.observe, image[None, :256, :256]), 256**2),
        "tiles, a pixel looked at": (
            functools.partial(tiled.engine.with_tiles, whole, ArrayStrips(image)),
            9 * size**2,
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, (action, pixels) in actions.items():
            for _ in range(9 if pixels == 256**2 else 1):
                began = time.process_time()
                action()
                if number:
                    times[name].append((time.process_time() - began) / pixels)
    found = {name: statistics.median(values) * 1e9 for name, values in times.items()}
    ratio = found["tiles, a pixel looked at"] / found["256 x 256"]
    passes = len(Tiling(size, stride).places((arguments.size, arguments.size))) + 1
    return {
        **{f"{name}, ns": value for name, value in found.items()},
        "ratio": ratio,
        "pixels looked at for each of the image": passes * size**2 / arguments.size**2,
    }


def main() -> None:
    """Draw, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--product", default="leather")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--tiles", default="512:384")
    parser.add_argument("--defects", type=int, default=4, help="in a defective panel")
    parser.add_argument("--train", type=int, default=8)
    parser.add_argument("--good", type=int, default=8)
    parser.add_argument("--bad", type=int, default=8)
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--shifted", type=int, default=4, help="good images seen on another grid")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    draw(arguments)
    size, _ = parse_tiles(arguments.tiles) or (0, 0)
    quarter = arguments.size // 4
    # As many pixels: 5/4 of the views are those of whole images.
    seen = 1.25 * arguments.views * size**2 / quarter**2
    tiled = trained(
        arguments,
        "tiled",
        tiles=arguments.tiles,
        tile_views=arguments.views,
        epochs=arguments.epochs,
    )
    resized = trained(
        arguments, "resized", size=quarter, epochs=max(round(arguments.epochs * seen), 1)
    )
    results: dict[str, Any] = {
        "settings": {name: str(value) for name, value in vars(arguments).items()},
        "machine": {**machine(), "load": os.getloadavg()},
        "tiles": measured(arguments, tiled, arguments.tiles),
        f"resized to {quarter}": measured(arguments, resized, "off"),
    }
    scores = np.asarray(results["tiles"]["good images' scores"])
    fail = conformal_threshold(scores, FALSE_ALARMS).value
    results["grid shifted by half a stride"] = shifted(arguments, tiled, fail)
    trained(arguments, "small", size=256, epochs=1)
    results["cost"] = costs(arguments, tiled)
    text = json.dumps(results, indent=1) + "\n"
    print(text)
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
