"""The MVTec AD layout: ``<class>/{train/good, test/<type>, ground_truth/<type>/<name>_mask.png}``.

Good test parts lie in ``test/good``. ``test`` and ``ground_truth`` may be absent: a class can be
for training only, or have image-level labels only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mambaad.data.readers.base import Complain, Layout, Split
from mambaad.data.readers.folders import (
    GOOD_NAMES,
    as_spelt,
    by_text,
    complain_of_lonely,
    find_masks,
    folders,
    images,
)
from mambaad.data.walk import is_folder, is_visible, text
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample

FindMasks = Callable[[Path, Sequence[Path], Path, Complain], tuple[dict[Path, Path], list[Path]]]
"""Finds masks, given their folder, the images and the images' folder: see :func:`find_masks`."""


def class_names(root: Path, split: Split, *, good: str = "good") -> list[str]:
    """List the folders with images for ``split``, and those that lack ``train``."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that has one folder a class")
    if (root / split).is_dir():
        raise DataError(
            f"{root} is itself one class (it has {split}/); give the folder above it: "
            f"{root.resolve().parent}"
        )
    found = list(_class_folders(root, split))
    if not found:
        raise DataError(
            f"{root} has no classes; expected one folder a class, with its images in "
            f"{root}/<class>/{f'train/{good}' if split == 'train' else 'test/<type>'}"
        )
    return found


def _class_folders(root: Path, split: Split) -> dict[str, Path]:
    """Return the folder of each class, by the class's name."""
    found = [p for p in folders(root) if (p / split).is_dir() or _lacks_train(p, split)]
    return by_text(found)


def read_classes(
    root: Path,
    names: Sequence[str],
    split: Split,
    complain: Complain,
    *,
    good: str = "good",
    find_masks: FindMasks = find_masks,
) -> list[ProductClass]:
    """Read some classes.

    Args:
        root: the folder with one folder a class.
        names: the classes.
        split: ``"train"``, or ``"test"`` to read nothing of ``train``.
        complain: called with each problem.
        good: the name of the folder of good parts.
        find_masks: finds the masks of one type.
    """
    places = _class_folders(root, split)
    return [
        ProductClass(
            name,
            _train_samples(name, places[name], good, complain) if split == "train" else (),
            _test_samples(name, places[name], good, find_masks, complain),
        )
        for name in names
    ]


def form(good: str = "good") -> str:
    """Say where images are."""
    return f"<class>/train/{good}, <class>/test/<type> and <class>/ground_truth/<type>"


def is_mask_of_good(parts: tuple[str, ...]) -> bool:
    """Whether a file is a mask of a good part, which some sets have, though it is empty."""
    return parts[1:3] == ("ground_truth", "good")


def holds(root: Path, test: Callable[[Path], bool]) -> bool:
    """Whether a folder has folders, and ``test`` holds for one with ``train`` or ``test``."""
    return any(
        test(folder)
        for folder in folders(root)
        if (folder / "train").is_dir() or (folder / "test").is_dir()
    )


def holds_only(root: Path, classes: Sequence[str]) -> bool:
    """Whether a folder is of this layout with classes of these names and no other.

    A folder that has others too may be the user's own data set.
    """
    found = {folder.name for folder in folders(root)}
    return bool(found) and found <= set(classes) and LAYOUT.recognises(root)


def _train_samples(name: str, folder: Path, good: str, complain: Complain) -> tuple[Sample, ...]:
    place = folder / "train" / good
    train = tuple(Sample(path, name) for path in images(place, complain))
    if len(train) < 2:
        others = [p for p in folders(folder / "train") if p.name != good]
        named = [p for p in others if p.name.lower() in GOOD_NAMES]
        hint = f"rename {named[0]}, or declare it (--layout FILE)" if named else "add some"
        complain(
            f"{place} has {len(train)} images, expected at least 2 of good parts; {hint}, or "
            "leave the class out with --classes"
        )
    return train


def _test_samples(
    name: str, folder: Path, good: str, find_masks: FindMasks, complain: Complain
) -> tuple[Sample, ...]:
    test: list[Sample] = []
    masked = (folder / "ground_truth").is_dir()
    for type_folder in folders(folder / "test"):
        is_good = type_folder.name == good
        paths = images(type_folder, complain)
        place = as_spelt(folder / "ground_truth" / type_folder.name)
        pairs, lonely = find_masks(place, paths, type_folder, complain)
        for path in paths:
            mask = pairs.get(path)
            if masked and mask is None and not is_good:
                complain(
                    f"{path} has no mask; expected {place / path.stem}_mask.png, or "
                    f"{path.stem}.png (a class has masks for all its defective images, or no "
                    "ground_truth folder)"
                )
            # Some sets have (empty) masks for good parts too: a good part has no defect to outline.
            kind = "good" if is_good else text(type_folder.name)
            test.append(Sample(path, name, kind, None if is_good else mask))
        complain_of_lonely(lonely, type_folder, complain)
    for mask_folder in folders(folder / "ground_truth"):
        has_images = is_folder(as_spelt(folder / "test" / mask_folder.name))
        if not has_images and images(mask_folder, complain):
            complain(
                f"{mask_folder} has masks without images; add the images in "
                f"{folder / 'test' / mask_folder.name}, or remove it"
            )
    return tuple(test)


def _lacks_train(folder: Path, split: str) -> bool:
    """Whether a class to train on has no ``train``, which is reported rather than ignored.

    Folders that are neither empty nor in this layout are ignored.
    """
    content = {path.name for path in folder.iterdir() if is_visible(path.name)}
    return split == "train" and (not content or not content.isdisjoint(("test", "ground_truth")))


LAYOUT = Layout(
    "mvtec",
    "MVTec AD",
    recognises=lambda root: holds(root, lambda folder: True),
    class_names=class_names,
    read_classes=read_classes,
    form=form(),
    aside=is_mask_of_good,
)
