"""Uni-Medical: brain MRI, liver CT and retinal OCT slices, in the MVTec AD layout.

``{brain,liver,retinal}/{train/good, test/{good,<type>}, ground_truth/<type>}``. Masks have the
names of their images or are, as ADer takes them, as many as the images and in the same order.

Source: ADer's ``data/gen_benchmark/medical.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mambaad.data.readers import mvtec
from mambaad.data.readers.base import Complain, Layout
from mambaad.data.readers.folders import masks, odd_folders

_CLASSES = ("brain", "liver", "retinal")


def _find_masks(folder: Path, of: Sequence[Path], complain: Complain) -> dict[str, Path]:
    named = masks(folder, complain)
    stems = [path.stem for path in of]
    # In order only if no name fits: with some that do, the others are missing or misnamed.
    if len(named) == len(stems) and named.keys().isdisjoint(stems):
        return dict(zip(stems, named.values(), strict=True))
    return named


LAYOUT = Layout(
    "uni-medical",
    "Uni-Medical",
    recognises=partial(mvtec.holds_only, classes=_CLASSES),
    class_names=mvtec.class_names,
    read_classes=partial(mvtec.read_classes, find_masks=_find_masks),
    published_classes=_CLASSES,
    odd=partial(odd_folders, parts=mvtec.PARTS),
)
