"""The MVTec AD layout: ``<class>/{train/good, test/<type>, ground_truth/<type>/<name>_mask.png}``.

Good test parts lie in ``test/good``. ``test`` and ``ground_truth`` may be absent: a class can be
for training only, or have image-level labels only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mambaad.data.readers.base import Complain, Layout, Split
from mambaad.data.readers.folders import folders, images, masks, odd_folders, visible
from mambaad.errors import DataError
from mambaad.types import ProductClass, Sample

PARTS = ("train", "test", "ground_truth")
FindMasks = Callable[[Path, Sequence[Path], Complain], dict[str, Path]]


def class_names(root: Path, split: Split, *, good: str = "good") -> list[str]:
    """List the folders with images for ``split``, and those that lack ``train``."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that has one folder a class")
    if (root / split).is_dir():
        raise DataError(
            f"{root} is itself one class (it has {split}/); give the folder above it: "
            f"{root.resolve().parent}"
        )
    found = [p.name for p in folders(root) if (p / split).is_dir() or _lacks_train(p, split)]
    if not found:
        raise DataError(
            f"{root} has no classes; expected one folder a class, with its images in "
            f"{root}/<class>/{f'train/{good}' if split == 'train' else 'test/<type>'}"
        )
    return found


def named_masks(folder: Path, of: Sequence[Path], complain: Complain) -> dict[str, Path]:
    """List the masks of a folder by the name of their image."""
    return masks(folder, complain)


def read_classes(
    root: Path,
    names: Sequence[str],
    split: Split,
    complain: Complain,
    *,
    good: str = "good",
    find_masks: FindMasks = named_masks,
) -> list[ProductClass]:
    """Read some classes.

    Args:
        root: the folder with one folder a class.
        names: the classes.
        split: ``"train"``, or ``"test"`` to read nothing of ``train``.
        complain: called with each problem.
        good: the name of the folder of good parts.
        find_masks: lists masks by the name of their image, given the folder of one type's masks
            and that type's images.
    """
    return [
        ProductClass(
            name,
            _train_samples(root / name, good, complain) if split == "train" else (),
            _test_samples(root / name, good, find_masks, complain),
        )
        for name in names
    ]


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


def _train_samples(folder: Path, good: str, complain: Complain) -> tuple[Sample, ...]:
    place = folder / "train" / good
    train = tuple(Sample(path, folder.name) for path in images(place, complain))
    if len(train) < 2:
        complain(
            f"{place} has {len(train)} images, expected at least 2 of good parts; add some, or "
            "leave the class out with --classes"
        )
    return train


def _test_samples(
    folder: Path, good: str, find_masks: FindMasks, complain: Complain
) -> tuple[Sample, ...]:
    test: list[Sample] = []
    masked = (folder / "ground_truth").is_dir()
    for type_folder in folders(folder / "test"):
        is_good = type_folder.name == good
        paths = images(type_folder, complain)
        found = find_masks(folder / "ground_truth" / type_folder.name, paths, complain)
        for path in paths:
            mask = found.pop(path.stem, None)
            if masked and mask is None and not is_good:
                complain(
                    f"{path} has no mask; expected "
                    f"{folder / 'ground_truth' / type_folder.name / path.stem}_mask.png, or "
                    f"{path.stem}.png (a class has masks for all its defective images, or no "
                    "ground_truth folder)"
                )
            # Some sets have (empty) masks for good parts too: a good part has no defect to outline.
            kind = "good" if is_good else type_folder.name
            test.append(Sample(path, folder.name, kind, None if is_good else mask))
        for mask in found.values():
            complain(
                f"{mask} is a mask without an image in {type_folder}; remove it, or add its image"
            )
    for mask_folder in folders(folder / "ground_truth"):
        has_images = (folder / "test" / mask_folder.name).is_dir()
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
    content = {path.name for path in folder.iterdir() if visible(path)}
    return split == "train" and (not content or not content.isdisjoint(("test", "ground_truth")))


LAYOUT = Layout(
    "mvtec",
    "MVTec AD",
    recognises=lambda root: holds(root, lambda folder: True),
    class_names=class_names,
    read_classes=read_classes,
    odd=partial(odd_folders, parts=PARTS),
)
