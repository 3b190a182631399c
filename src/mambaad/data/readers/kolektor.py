"""KolektorSDD and KolektorSDD2: surfaces of commutators and of another product, one class each.

::

    kos01/{Part0.jpg, Part0_label.bmp}                 KolektorSDD: a folder an item, no split
    {train,test}/{10000.png, 10000_GT.png}             KolektorSDD2

Every image has a mask; it is defective if the mask is not empty. KolektorSDD has no split: every
fifth good image, in the order of their names, is tested on with all defective ones. Of
KolektorSDD2's training images the good ones are used.

Source: Tabernik et al., "Segmentation-based deep-learning approach for surface-defect detection",
2020; Bozic et al., "Mixed supervision for surface-defect detection", 2021; the trees as anomalib's
``data/datasets/image/kolektor.py`` and the authors' loaders read them.
"""

from __future__ import annotations

import re
from pathlib import Path

from mambaad.data.readers.described import Description, layout_of
from mambaad.data.readers.folders import folders


def _is_sdd(root: Path) -> bool:
    return any(
        re.fullmatch(r"kos\d+", folder.name) and any(folder.glob("Part*_label.*"))
        for folder in folders(root)
    )


def _is_sdd2(root: Path) -> bool:
    return all(any((root / part).glob("*_GT.png")) for part in ("train", "test"))


SDD = layout_of(
    "kolektor-sdd",
    "KolektorSDD",
    Description(
        train=("kos{type}",),
        masks=("{folder}",),
        mask_suffixes=("_label",),
        defective_if="marked",
        test_share=0.2,
        test_defective=True,
    ),
    _is_sdd,
)
SDD2 = layout_of(
    "kolektor-sdd2",
    "KolektorSDD2",
    Description(
        train=("train",),
        test=("test",),
        masks=("{folder}",),
        mask_suffixes=("_GT",),
        defective_if="marked",
    ),
    _is_sdd2,
    aside=lambda parts: parts[0] == "train",
)
