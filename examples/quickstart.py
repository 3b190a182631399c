"""Train, evaluate and predict on images that this script draws; nothing is downloaded.

    python examples/quickstart.py [--out DIR] [--encoder-weights timm|FILE] [--epochs N]

Draws two products, trains one model for both on their good parts, evaluates it on good and
defective ones, and writes heatmaps. Unless weights are given, the encoder is random: it responds to
colours and edges, and misses some defects (image AU-ROC about 0.8). With a ResNet-18 trained on
ImageNet (``--encoder-weights timm``), the same training finds all of them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import mambaad
from mambaad.cli.tables import metrics_table

SIDE = 128


def draw_washer(random: np.random.Generator) -> Image.Image:
    """Draw a metal ring on a dark table, near the middle."""
    image = Image.new("RGB", (SIDE, SIDE), (52, 56, 62))
    draw = ImageDraw.Draw(image)
    x, y = 64 + random.uniform(-4, 4, 2)
    for radius, colour in ((46, (150, 152, 158)), (43, (176, 178, 184)), (20, (52, 56, 62))):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def draw_weave(random: np.random.Generator) -> Image.Image:
    """Draw a plain weave of two threads, shifted a little differently each time."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + random.uniform(0, 16, 2)[:, None, None]
    over = np.sin(rows * np.pi / 8) * np.sin(columns * np.pi / 8) > 0
    thread = np.where(over, np.abs(np.sin(columns * np.pi / 8)), np.abs(np.sin(rows * np.pi / 8)))
    colours = np.where(over[..., None], (96, 128, 168), (208, 196, 160))
    return Image.fromarray((colours * (0.55 + 0.45 * thread[..., None])).astype(np.uint8))


def damage(image: Image.Image, random: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """Add a scratch or a stain; return the image and the mask of the changed pixels."""
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    angle = random.uniform(0, 2 * np.pi)
    x, y = 64 + 32 * np.cos(angle), 64 + 32 * np.sin(angle)  # on the washer's ring
    if random.random() < 0.5:
        turn, half = random.uniform(0, np.pi), random.uniform(9, 18)
        dx, dy = half * np.cos(turn), half * np.sin(turn)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=255, width=4)
        colour = (235, 232, 225)
    else:
        a, b = random.uniform(5, 10, 2)
        draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
        colour = (110, 66, 38)
    return Image.composite(Image.new("RGB", image.size, colour), image, mask), mask


def photograph(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Add a little blur, a change of brightness, and noise, as a camera would."""
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float64)
    pixels = pixels * random.uniform(0.98, 1.02) + random.normal(0, 2, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_parts(root: Path, *, train: int = 32, test: int = 8) -> None:
    """Write both products in MVTec AD's layout, the same on every machine."""
    for number, (name, draw) in enumerate((("washer", draw_washer), ("weave", draw_weave))):
        random = np.random.default_rng(number)
        for folder, count in (("train/good", train), ("test/good", test), ("test/damaged", test)):
            for i in range(count):
                image = draw(random)
                path = root / name / folder / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                if folder == "test/damaged":
                    image, mask = damage(image, random)
                    mask_path = root / name / "ground_truth" / "damaged" / f"{i:03}_mask.png"
                    mask_path.parent.mkdir(parents=True, exist_ok=True)
                    mask.save(mask_path)
                photograph(image, random).save(path)


def main() -> None:
    """Draw, train, evaluate, predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("quickstart"))
    parser.add_argument("--encoder-weights", default="random")
    parser.add_argument("--epochs", type=int, default=24)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mambaad").setLevel(logging.INFO)  # so that training says how far it is

    data, run, results = (arguments.out / name for name in ("data", "run", "results"))
    make_parts(data)
    mambaad.train(
        data,
        run,
        resume=run.exists(),
        encoder="resnet18",
        encoder_weights=arguments.encoder_weights,
        size=SIDE,
        depths=(1, 1, 1, 1),  # a small decoder, for small and simple images
        epochs=arguments.epochs,
        batch_size=4,
        lr=0.002,
    )
    print(metrics_table(mambaad.evaluate(run, data)))
    mambaad.predict(run, [data / "washer" / "test", data / "weave" / "test"], results)
    print(f"heatmaps and scores: {results}")


if __name__ == "__main__":
    try:
        main()
    except mambaad.MambaADError as error:
        sys.exit(f"quickstart: {error}")
