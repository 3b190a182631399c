"""Draw a contact sheet of the synthetic factory: every product, good and with every defect.

    python tools/contact_sheets.py OUT.png [--classes a,b] [--good 2] [--seed 0] [--size 256]
        [--difficulty 0.5] [--plain] [--small]

A row is a product: some good parts, then each of its defects, outlined unless ``--plain``.
``--small`` halves the sheet and drops the two lowest bits, which are noise, as for
``docs/images/factory.png``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.render import Part, check_part, render_part
from mambaad.errors import MambaADError
from mambaad.files import written_whole

CAPTION = 30


def outlined(part: Part) -> np.ndarray:
    """Draw a line around the mask, three pixels away from it."""
    near = binary_dilation(part.mask, np.ones((3, 3)), iterations=3)
    line = binary_dilation(near, np.ones((3, 3)), iterations=2) & ~near
    image = part.image.copy()
    image[line] = (255, 0, 220)
    return image


def draw_sheet(
    products: list[str], good: int, seed: int, size: int, difficulty: float, plain: bool
) -> Image.Image:
    """Draw one sheet of the products."""
    columns = good + max(len(PRODUCTS[name].defects) for name in products)
    sheet = Image.new("RGB", (columns * size, len(products) * (size + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size // 11)
    for row, name in enumerate(products):
        for column, kind in enumerate((*[None] * good, *PRODUCTS[name].defects)):
            part = render_part(name, seed + column, size=size, defect=kind, difficulty=difficulty)
            place = (column * size, row * (size + CAPTION))
            draw.text((place[0] + 4, place[1] + 2), f"{name} {kind or 'good'}", "black", font)
            pixels = part.image if plain or kind is None else outlined(part)
            sheet.paste(Image.fromarray(pixels), (place[0], place[1] + CAPTION))
    return sheet


def main() -> None:
    """Read the arguments, write the sheet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", default=",".join(PRODUCTS))
    parser.add_argument("--good", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--difficulty", type=float, default=0.5)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--small", action="store_true")
    a = parser.parse_args()
    for name in a.classes.split(","):
        check_part(name, a.seed, a.size, None, a.difficulty)
    sheet = draw_sheet(a.classes.split(","), a.good, a.seed, a.size, a.difficulty, a.plain)
    if a.small:
        sheet = sheet.reduce(2).point(lambda level: (level + 2) // 4 * 255 // 64)
    with written_whole(a.out) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


if __name__ == "__main__":
    try:
        main()
    except MambaADError as error:
        sys.exit(f"contact_sheets: {error}")
