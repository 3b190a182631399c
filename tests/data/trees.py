"""Random folders as people have them, for tests of the walk: names, links, what is hidden."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

_SUFFIXES = (
    *(".png", ".PNG", ".jpg", ".JPEG", ".jfif", ".Jpe", ".tif", ".bmp", ".webp"),
    *(".gif", ".jp2", ".pgm", ".txt", ".json", "", ".", ".png ", ".png.part", ".npy", ".db"),
)
_NAMES = (
    *("a", "B", "ü", "u\u0308", "part 1", "-rf", "x.y", "#1", "quo'te", 'dou"ble', "new\nline"),
    *("中", "e" * 60, "\udcfc", "tab\t", "%d", "$x", "100%", "~", "a,b", "[0]", "*", "c:d"),
)
_FOLDERS = (
    *("sub", ".hidden", "@eaDir", "$RECYCLE.BIN", "__MACOSX", "lost+found", "2024-05-01", "masks"),
    *("deep er", "\udce9", "Good", "u\u0308", ".png", "a.png"),
)


def grow(folder: Path, random: np.random.Generator, outside: Path, depth: int = 3) -> None:
    """Fill a folder with files, folders and links, some of which lead to ``outside``."""
    folder.mkdir(parents=True, exist_ok=True)
    for _ in range(random.integers(0, 6)):
        name = random.choice(_NAMES) + random.choice(_SUFFIXES)
        if random.random() < 0.1:
            name = f".{name}"
        _draw(folder / name, random)
    for _ in range(random.integers(0, 3)):
        _link(
            folder / f"link{random.integers(99)}{random.choice(('', '.png', '.gif'))}",
            random.choice(
                (
                    "..",
                    "../..",
                    ".",
                    "nowhere",
                    str(outside),
                    "self",
                    "sub",
                    "a.png",
                    f"{outside}/{random.choice(('deep er', 'x.png', 'sub'))}",
                )
            ),
        )
    if random.random() < 0.1:
        os.mkfifo(folder / f"pipe{random.integers(99)}.png")
    if depth:
        for name in random.choice(_FOLDERS, random.integers(0, 3), replace=False):
            if not os.path.lexists(folder / name):
                grow(folder / name, random, outside, depth - 1)


def _draw(path: Path, random: np.random.Generator) -> None:
    if os.path.lexists(path):
        return
    if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".bmp"):
        Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path)
    else:
        path.write_bytes(b"text")


def _link(path: Path, target: str) -> None:
    if not os.path.lexists(path):
        path.symlink_to(path.name if target == "self" else target)


def present(root: Path, unread: set[Path]) -> list[Path]:
    """List all that is not a folder below ``root``, with links to folders that are not followed.

    Independent of the walk but for the links that it says it does not follow.
    """
    found: list[Path] = []
    for name in os.listdir(root):  # noqa: PTH208
        path = root / name
        if path in unread or not path.is_dir():
            found.append(path)
        else:
            found += present(path, unread)
    return found
