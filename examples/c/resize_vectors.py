"""Test vectors of the resize, by Pillow: python resize_vectors.py FOLDER.

Writes ``given`` (for each image four 32-bit numbers, height, width and those to resize to, and its
RGB pixels) and ``expected`` (the pixels of the resized images), little-endian. A resize in another
language is right if it makes the one of the other, bit for bit.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [  # height, width, and to which
    (256, 256, 256, 256),
    (512, 512, 256, 256),
    (700, 900, 256, 256),
    (37, 53, 64, 64),
    (1, 1, 7, 5),
    (1, 300, 32, 32),
    (300, 1, 32, 32),
    (1024, 3, 3, 257),  # so high that Pillow starts with the rows
    (300, 3, 300, 20),
    (301, 3, 299, 20),
    (97, 101, 1, 1),
    (255, 257, 256, 256),
]


def images():
    """An image of noise, of black and white noise, and a smooth one, of each size."""
    random = np.random.default_rng(5)
    for height, width, *to in SIZES:
        noise = random.integers(0, 256, (height, width, 3), np.uint8)
        rows, columns = np.mgrid[:height, :width]
        waves = 127.5 + 127.5 * np.sin(np.stack([rows / 9, columns / 7, (rows + columns) / 5], -1))
        for image in (noise, np.where(noise > 127, 255, 0), waves):
            yield image.astype(np.uint8), to


def main(folder: Path) -> None:
    with (folder / "given").open("wb") as given, (folder / "expected").open("wb") as expected:
        for image, (height, width) in images():
            given.write(np.array([*image.shape[:2], height, width], "<i4").tobytes())
            given.write(image.tobytes())
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            expected.write(resized.tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
