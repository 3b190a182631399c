"""MPDD: the MVTec AD layout, known by the names of its six classes of metal parts.

Source: the tree as anomalib's ``data/datasets/image/mpdd.py`` and ADer's
``data/gen_benchmark/mpdd.py`` read it.
"""

from __future__ import annotations

from functools import partial

from mambaad.data.readers import mvtec
from mambaad.data.readers.base import Layout

_CLASSES = (
    "bracket_black",
    "bracket_brown",
    "bracket_white",
    "connector",
    "metal_plate",
    "tubes",
)


LAYOUT = Layout(
    "mpdd",
    "MPDD",
    recognises=partial(mvtec.holds_only, classes=_CLASSES),
    class_names=mvtec.class_names,
    read_classes=mvtec.read_classes,
    published_classes=_CLASSES,
    form=mvtec.form(),
    aside=mvtec.is_mask_of_good,
)
