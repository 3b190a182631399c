"""The README's picture, from what ``examples/quickstart.py`` has left in a folder, its argument."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

SHOWN = (
    "washer/test/good/000",
    "washer/test/damaged/000",
    "washer/test/damaged/003",
    "weave/test/good/000",
    "weave/test/damaged/001",
    "weave/test/damaged/002",
)
GAP = 6


def main(folder: Path) -> None:
    """Images above, heatmaps below."""
    rows = [
        [Image.open(folder / "data" / f"{name}.png") for name in SHOWN],
        [Image.open(folder / "results" / f"{name}.png.heatmap.png") for name in SHOWN],
    ]
    width, height = rows[0][0].size
    size = (len(SHOWN) * (width + GAP) - GAP, 2 * height + GAP)
    sheet = Image.new("RGB", size, "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image, (x * (width + GAP), y * (height + GAP)))
    sheet.save(Path(__file__).with_name("heatmaps.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
