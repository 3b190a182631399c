"""Listing of folders, for layouts in which a folder's name says what its images are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mambaad.data.file_names import is_image
from mambaad.data.readers.base import Complain

# Folders of these names are surely intended as one of the parts of a class.
_INTENDED = frozenset(
    [
        "train",
        "training",
        "test",
        "testing",
        "val",
        "valid",
        "validation",
        "gt",
        "groundtruth",
        "ground_truth",
        "masks",
    ]
)


def visible(path: Path) -> bool:
    """Whether a file or folder is not hidden."""
    return not path.name.startswith(".")


def folders(folder: Path) -> list[Path]:
    """List the folders in a folder by name; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and visible(path))


def images(folder: Path, complain: Complain) -> list[Path]:
    """List the images of a folder by name; two of one name (without suffix) are a problem."""
    if not folder.is_dir():
        return []
    by_stem: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if is_image(path) and path.is_file()):
        twin = by_stem.setdefault(path.stem, path)
        if twin is not path:
            complain(
                f"{twin} and {path.name} are two images of one name, so their masks and results "
                "cannot be told apart; rename one"
            )
    return list(by_stem.values())


def masks(folder: Path, complain: Complain) -> dict[str, Path]:
    """List masks by the name of their image: ``<name>_mask.png`` or ``<name>.png``."""
    found: dict[str, Path] = {}
    for path in images(folder, complain):
        twin = found.setdefault(path.stem.removesuffix("_mask"), path)
        if twin is not path:
            complain(f"{path} and {twin.name} are masks of the same image; remove one")
    return found


def odd_folders(root: Path, parts: Sequence[str], good: str = "good") -> Iterator[str]:
    """Yield a line for each folder that is ignored, though it seems to be intended.

    Args:
        root: the folder with one folder a class.
        parts: the folders that a class may have, ``train`` and ``test`` among them.
        good: the name of the folder of good parts.
    """
    for product in folders(root):
        for part in folders(product):
            if part.name not in parts and part.name.lower() in _INTENDED:
                yield f"{part} is not read; expected {', '.join(parts)}: rename or remove it"
        for kind in folders(product / "train"):
            if kind.name != good:
                yield f"{kind} is not read: training images are those in {kind.with_name(good)}"
