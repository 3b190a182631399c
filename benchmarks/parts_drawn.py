"""Small drawn parts of two products, and a small model of them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64  # of an image, in pixels
PRODUCTS = ("disc", "stripes")
DEFECTIVE = 50  # one part of so many


def draw_part(path: Path, product: str, number: int, is_defective: bool) -> None:
    """Draw a small part, which no other number has: the place, the light, and a spot if asked."""
    chance = np.random.default_rng([PRODUCTS.index(product), number])
    rows, columns = np.mgrid[:SIDE, :SIDE] + chance.integers(-2, 3, (2, 1, 1))
    is_part = np.hypot(rows - 32, columns - 32) < 22 if product == "disc" else columns // 8 % 2 == 0
    pixels = chance.normal(60, 3) + 120 * is_part[..., None] + chance.normal(0, 6, (SIDE, SIDE, 3))
    if is_defective:
        row, column = chance.integers(16, 48, 2)
        spot = np.hypot(rows - row, columns - column) < chance.uniform(3, 8)
        pixels[spot] = chance.integers(0, 255, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, compress_level=1)


def draw(folder: Path, number: int) -> Path:
    """Draw small parts of both products, all different, some of them defective."""
    for i in range(number):
        product = PRODUCTS[i % 2]
        draw_part(folder / product / f"{i:06}.png", product, 1000 + i, i % DEFECTIVE == 7)
    return folder


def make_bundle(path: Path) -> None:
    """Train and calibrate a small model, whose encoder has random weights."""
    small = "--variant lite --encoder resnet18 --encoder-weights random --size 32 --directions 2"
    asked = f"{small} --batch-size 4 --epochs 3 --holdout 0.5".split()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        data, run = Path(place) / "data", Path(place) / "run"
        for product in PRODUCTS:
            for i in range(80):
                draw_part(data / product / "train" / "good" / f"{i:03}.png", product, i, False)
            for kind in ("good", "spot"):
                draw_part(data / product / "test" / kind / "000.png", product, 999, kind == "spot")
        for words in (
            ["train", data, "--out", run, *asked],
            ["calibrate", run, data],
            ["bundle", run, "--out", path],
        ):
            subprocess.run([sys.executable, "-m", "mambaad", *map(str, words)], check=True)
