"""The plots of benchmarks/README.md, from the stored results.

python benchmarks/plots.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
RESULTS, IMAGES = HERE / "results", HERE.parent / "docs" / "images"
BLUE, ORANGE, GREY, GREEN = "#2f6db3", "#d9822b", "#9a9a9a", "#3b8f4a"
PATCHCORE_MAD = 83.6
"""mAD of anomalib's PatchCore on the same images, multi-class, 5 % of the patches."""


def read(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return results


def speed_against_peers() -> None:
    """Plot milliseconds of one image, this project's models beside peers."""
    figures = read("model_speed.json")
    rows = [
        ("MambaAD lite, ResNet-18", figures["lite_ms"], GREEN),
        ("MambaAD bfloat16, ResNet-34", figures["forward_bf16_ms"], BLUE),
        ("MambaAD, ResNet-34", figures["forward_ms"], BLUE),
        ("EfficientAD-S (anomalib)", figures.get("efficientad_ms"), GREY),
        ("RD4AD, WideResNet-50 (anomalib)", figures.get("rd4ad_ms"), GREY),
        ("PatchCore, 24k patches (anomalib)", figures.get("patchcore_ms"), GREY),
    ]
    rows = [row for row in rows if row[1]]
    figure, axes = plt.subplots(figsize=(7, 2.6))
    bars = axes.barh([r[0] for r in rows], [r[1] for r in rows], color=[r[2] for r in rows])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("ms an image of 256 x 256, batch 1, two cores")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "speed.png")


def time_against_size() -> None:
    """Plot the time of one image against its number of pixels; linear is a straight line."""
    rows = {int(size): row for size, row in read("image_sizes.json")["milliseconds"].items()}
    figure, axes = plt.subplots(figsize=(7, 3.4))
    pixels = [size**2 / 1e6 for size in rows]
    for name, label, colour in (
        ("forward", "MambaAD, ResNet-34", BLUE),
        ("lite", "MambaAD lite, ResNet-18", GREEN),
        ("encoder", "ResNet-34 encoder alone", GREY),
    ):
        axes.plot(pixels, [row[name] for row in rows.values()], "o-", label=label, color=colour)
    axes.set_xticks(pixels, [f"{size}²" for size in rows], rotation=45)
    axes.set_xlabel("pixels of the image")
    axes.set_ylabel("ms an image")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "time_against_size.png")


def quality_against_minutes() -> None:
    """Plot the mean of the seven metrics against minutes of training."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    for name, label, colour in (
        ("curve_fast_lite.json", "recipe fast, lite", GREEN),
        ("curve_fast_base.json", "recipe fast, base", BLUE),
        ("curve_paper.json", "recipe paper, base", ORANGE),
    ):
        curve = read(name)["curve"]
        minutes = [point["minutes"] for point in curve]
        axes.plot(minutes, [100 * p["mad"] for p in curve], "o-", label=label, color=colour)
    paper = read("real_classes.json")
    axes.plot(
        paper["training_minutes"],
        100 * paper["exact"]["mean"]["mad"],
        "s",
        label="recipe paper, base, after 10 epochs",
        color=ORANGE,
    )
    axes.axhline(PATCHCORE_MAD, color=GREY, linestyle="--", linewidth=1, label="PatchCore")
    axes.set_xlabel("minutes of training on two cores")
    axes.set_ylabel("mAD, six real classes, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "quality_against_minutes.png")


def save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(IMAGES / name, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    speed_against_peers()
    time_against_size()
    quality_against_minutes()
