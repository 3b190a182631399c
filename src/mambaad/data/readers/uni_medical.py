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
from mambaad.data.readers.folders import find_masks

_CLASSES = ("brain", "liver", "retinal")


def _find_masks(
    folder: Path, of: Sequence[Path], images_in: Path, complain: Complain
) -> tuple[dict[Path, Path], list[Path]]:
    pairs, lonely = find_masks(folder, of, images_in, complain)
    # In order only if no name fits: with some that do, the others are missing or misnamed.
    if not pairs and len(lonely) == len(of):
        return dict(zip(of, lonely, strict=True)), []
    return pairs, lonely


LAYOUT = Layout(
    "uni-medical",
    "Uni-Medical",
    recognises=partial(mvtec.holds_only, classes=_CLASSES),
    class_names=mvtec.class_names,
    read_classes=partial(mvtec.read_classes, find_masks=_find_masks),
    published_classes=_CLASSES,
    form=mvtec.form(),
    aside=mvtec.is_mask_of_good,
)
