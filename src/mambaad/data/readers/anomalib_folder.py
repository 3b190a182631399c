"""The folders that anomalib's ``Folder`` takes: good parts, each type of defects, and masks.

::

    good/000.png              (normal, ok, ...: one folder)
    crack/000.png             a folder for each type of defect
    mask/crack/000.png        (ground_truth, ...) or, with one type, mask/000.png; may be absent
    good_test/000.png         further good parts to test on (normal_test, ...); may be absent

The folder is one class. Without a folder of good parts to test on, every fifth good part is tested
on: anomalib's ``normal_split_ratio`` is 0.2 too, but it draws them at random.

Source: anomalib's ``data/datamodules/image/folder.py``, with its ``hazelnut_toy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mambaad.data.readers.base import Complain, Layout, Split
from mambaad.data.readers.described import Description
from mambaad.data.readers.folders import GOOD_NAMES, MASK_NAMES, folders
from mambaad.data.walk import is_folder, walk
from mambaad.errors import DataError
from mambaad.types import ProductClass

_PARTS = frozenset(["train", "test", "training", "testing"])


def describe(root: Path) -> Description | None:
    """Describe a folder of this form; None if it has another."""
    found = folders(root) if root.is_dir() else []
    names = [folder.name for folder in found]
    good = [name for name in names if name.lower() in GOOD_NAMES]
    if len(good) != 1 or not _PARTS.isdisjoint(name.lower() for name in names):
        return None
    if not walk(root / good[0]).images:
        return None
    masks = [name for name in names if name.lower() in MASK_NAMES]
    tested = [name for name in names if name.lower() in _tested(good[0])]
    types = [name for name in names if name not in (*good, *masks, *tested)]
    flat = len(types) == 1 and not any(is_folder(root / mask / types[0]) for mask in masks)
    return Description(
        train=tuple(good),
        test=(*types, *tested),
        masks=tuple(mask if flat else f"{mask}/{{type}}" for mask in masks),
        good=(*good, *tested),
        test_share=0.0 if tested else 0.2,
    )


def _tested(good: str) -> frozenset[str]:
    name = good.lower()
    return frozenset([f"{name}_test", f"test_{name}", "normal_test", "good_test"])


def _described(root: Path) -> Description:
    description = describe(root)
    if description is None:
        raise DataError(
            f"{root} has no one folder of good parts beside those of defects; expected good, and "
            "for instance crack and mask/crack"
        )
    return description


def _class_names(root: Path, split: Split) -> list[str]:
    return _described(root).class_names(root, split)


def _read_classes(
    root: Path, names: Sequence[str], split: Split, complain: Complain
) -> list[ProductClass]:
    return _described(root).read_classes(root, names, split, complain)


LAYOUT = Layout(
    "folder",
    "anomalib's Folder",
    lambda root: describe(root) is not None,
    _class_names,
    _read_classes,
    form="good, a folder for each type of defect, and mask/<type>",
)
